"""Shell completion, from the same table as ``--help``."""

from __future__ import annotations

from soci_bootstrap.configfiles.soci_rules import SETTABLE
from soci_bootstrap.settings import values
from soci_bootstrap.settings.commands import COMMAND_NAMES, COMMANDS, Command
from soci_bootstrap.settings.options import OPTIONS, Option, options_of


def script(shell: str) -> str:
    """Write a completion script for ``bash`` or ``zsh``."""
    return _zsh() if shell == "zsh" else _bash()


def _bash() -> str:
    cases = "\n".join(_bash_option(option) for option in OPTIONS if option.metavar)
    commands = "\n".join(_bash_command(known) for known in COMMANDS)
    return f"""\
# bash completion for soci-bootstrap
_soci_bootstrap() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} command= word
    COMPREPLY=()
    # Bash takes --option=value apart.
    if [[ $current == = ]]; then
        current=
    elif [[ $previous == = ]]; then
        previous=${{COMP_WORDS[COMP_CWORD-2]}}
    fi
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case $word in {"|".join(COMMAND_NAMES)}) command=$word; break ;; esac
    done
    case $previous in
{cases}
    esac
    case $command in
{commands}
        *) COMPREPLY=($(compgen -W "{" ".join(COMMAND_NAMES)} --help --version" -- "$current")) ;;
    esac
}}
complete -F _soci_bootstrap soci-bootstrap
"""


def _bash_option(option: Option) -> str:
    if option.choices == values.FILES:
        action = _bash_paths("-f")
    elif option.choices == values.DIRECTORIES:
        action = _bash_paths("-d")
    elif option.choices == values.SET_KEYS:
        keys = " ".join(f"{key}=" for key in SETTABLE)
        action = f'compopt -o nospace; COMPREPLY=($(compgen -W "{keys}" -- "$current"))'
    else:
        action = (
            f'COMPREPLY=($(compgen -W "{" ".join(option.choices)}" -- "$current"))' if option.choices else ":"
        )
    return f"        {option.flag}) {action}; return ;;"


def _bash_command(known: Command) -> str:
    words = " ".join((*known.choices, *_flags(known.name)))
    action = f'COMPREPLY=($(compgen -W "{words}" -- "$current"))'
    if known.operand and not known.choices:
        action = f"if [[ $current == -* ]]; then {action}; else {_bash_paths('-d')}; fi"
    return f"        {known.name}) {action} ;;"


def _bash_paths(kind: str) -> str:
    """Files or directories, each one word whatever is in its name."""
    return f'compopt -o filenames; mapfile -t COMPREPLY < <(compgen {kind} -- "$current")'


def _flags(name: str) -> tuple[str, ...]:
    return (*(option.flag for option in options_of(name)), "--help")


def _zsh() -> str:
    commands = "\n".join(f"        '{known.name}:{_zsh_quoted(known.summary)}'" for known in COMMANDS)
    cases = "\n".join(_zsh_command(known) for known in COMMANDS)
    return f"""\
#compdef soci-bootstrap
# zsh completion for soci-bootstrap
_soci_bootstrap() {{
    local -a commands
    commands=(
{commands}
    )
    if (( CURRENT == 2 )); then
        _describe command commands
        return
    fi
    local command=$words[2]
    shift words
    (( CURRENT-- ))
    case $command in
{cases}
    esac
}}
if [[ $funcstack[1] == _soci_bootstrap ]]; then
    _soci_bootstrap "$@"
else
    compdef _soci_bootstrap soci-bootstrap
fi
"""


def _zsh_command(known: Command) -> str:
    arguments = [_zsh_option(option) for option in options_of(known.name)] + ["'--help[help, with examples]'"]
    if known.operand:
        action = f"({' '.join(known.choices)})" if known.choices else "_files -/"
        arguments.append(f"'1:{known.operand}:{action}'")
    return f"        {known.name}) _arguments {' '.join(arguments)} ;;"


def _zsh_option(option: Option) -> str:
    star = "*" if option.name == "set" else ""
    flag = f"{star}{option.flag}[{_zsh_quoted(option.help).replace('[', '(').replace(']', ')')}]"
    if not option.metavar:
        return f"'{flag}'"
    # Its value may follow as a word of its own, or after "=".
    flag = flag.replace("[", "=[", 1)
    if option.choices == values.FILES:
        action = "_files"
    elif option.choices == values.DIRECTORIES:
        action = "_files -/"
    elif option.choices == values.SET_KEYS:
        # Without a space after it: the value follows.
        action = f'{{compadd -S "" -- {" ".join(f"{key}=" for key in SETTABLE)}}}'
    else:
        action = f"({' '.join(option.choices)})" if option.choices else ""
    return f"'{flag}:{option.metavar}:{action}'"


def _zsh_quoted(text: str) -> str:
    return text.replace("'", "'\\''").replace(":", "\\:")
