"""`ssmd completion`: what completes commands, series and categories in a shell.

The scripts are our own: titles come from the exchange, and typer's for zsh has the shell evaluate
them.
"""

from enum import StrEnum
from typing import Annotated, Final

import typer

from ssmd_cli import verbs

app = verbs.single()

VARIABLE: Final = "_SSMD_COMPLETE"


class Shell(StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


# Each gives the words up to the cursor, a line each, and takes a candidate a line. Zsh and fish
# give words without their quotes, and quote what they take; a description follows a tab. Bash does
# neither. What has no candidate may be a file.
_SCRIPTS: Final = {
    Shell.BASH: r"""_ssmd_completion() {
    local IFS=$'\n' line
    local words="${COMP_WORDS[*]:0:COMP_CWORD+1}"
    COMPREPLY=()
    while read -r line; do
        [[ -n $line ]] && COMPREPLY+=("$line")
    done < <(_SSMD_WORDS="$words" _SSMD_COMPLETE=complete_bash "$1" 2>/dev/null)
}
complete -o default -F _ssmd_completion ssmd""",
    Shell.ZSH: r"""#compdef ssmd
_ssmd_completion() {
    local -a candidates
    local line typed="${(pj:\n:)${(@Q)words[1,CURRENT]}}"
    local found="$(_SSMD_WORDS="$typed" _SSMD_COMPLETE=complete_zsh ssmd 2>/dev/null)"
    for line in "${(@f)found}"; do
        [[ -n $line ]] && candidates+=("${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}")
    done
    if (( $#candidates )); then
        _describe -V ssmd candidates -U
    else
        _files
    fi
}
if [[ $funcstack[1] == _ssmd ]]; then
    _ssmd_completion "$@"
else
    compdef _ssmd_completion ssmd
fi""",
    Shell.FISH: r"""function __ssmd_completion
    set -l current (commandline --current-token | string unescape)
    set -l before (commandline --tokenize --cut-at-cursor --current-process)
    set -lx _SSMD_WORDS (string join \n -- $before "$current" | string collect)
    set -lx _SSMD_COMPLETE complete_fish
    set -l lines (ssmd 2>/dev/null)
    if string length --quiet -- $lines
        string join \n -- $lines
    else
        __fish_complete_path "$current"
    end
end
complete --command ssmd --no-files --arguments "(__ssmd_completion)" """.rstrip(),
}


@verbs.verb(
    app,
    "completion",
    "source <(ssmd completion bash)",
    "ssmd completion zsh > ~/.zfunc/_ssmd",
    "ssmd completion fish > ~/.config/fish/completions/ssmd.fish",
)
def completion_command(
    shell: Annotated[Shell, typer.Argument(help="Which one you use.")],
) -> None:
    """Print what your shell has to read to complete verbs, options, series and categories.

    Names of series and categories come from the API, with the address and the key that the command
    would use; without them only verbs and options are completed.
    """
    typer.echo(_SCRIPTS[shell])


def use_our_completion() -> None:
    """Have typer answer our scripts."""
    from typer import _completion_classes

    from ssmd_cli.candidates import BashCandidates, Candidates

    add = vars(_completion_classes)["add_completion_class"]
    add(BashCandidates, "bash")
    for shell in ("zsh", "fish"):
        add(Candidates, shell)
