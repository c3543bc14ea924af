// Elements are made without innerHTML: what a reply says is shown as text, whatever it contains.

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter(child => child !== null));
  return element;
}

export const text = (tag, className, content) => make(tag, { className, textContent: content });

// What stands between backticks is code.
export const prose = (tag, className, content) => make(tag, { className },
  ...content.split("`").map((part, n) => n % 2 ? text("code", "", part) : part));
