"""Pages for people at /ui: what the API knows, to be looked at.

The pages read through the API's own modules; what they add is the words and the form of numbers.
Every page is whole without JavaScript; with it, times are local and what changes is read anew.
"""
