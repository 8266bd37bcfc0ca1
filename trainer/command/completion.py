"""A bash script that completes flags and their values."""

from __future__ import annotations

from collections.abc import Mapping

from trainer.config.fields import FIELDS
from trainer.config.usage import COMMAND

# Bash splits a word at "=", so a value is a word of its own.
_SCRIPT = """\
# Completion of {command}. Load it with: eval "$({command} --completion)"
_{function}() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" name=""
  if [[ $word == "=" ]]; then
    word="" name="${{COMP_WORDS[COMP_CWORD-1]}}"
  elif [[ ${{COMP_WORDS[COMP_CWORD-1]}} == "=" ]]; then
    name="${{COMP_WORDS[COMP_CWORD-2]}}"
  fi
  case "$name" in
{cases}
    "")
      mapfile -t COMPREPLY < <(compgen -W "{flags}" -- "$word")
      if [[ ${{COMPREPLY[0]}} == *= ]]; then compopt -o nospace; fi
      ;;
    *) mapfile -t COMPREPLY < <(compgen -f -- "$word") ;;
  esac
}}
complete -o filenames -F _{function} {command}"""


def bash_completion() -> str:
    """Returns the script; it reads the flag table, not the program."""
    cases = "\n".join(
        f"    --{name})\n      mapfile -t COMPREPLY < <(compgen -W"
        f' "{" ".join(values)}" -- "$word")\n      ;;'
        for name, values in _choices().items()
    )
    return _SCRIPT.format(
        command=COMMAND,
        function=COMMAND.replace("-", "_"),
        cases=cases,
        flags=" ".join(_flags()),
    )


def _choices() -> Mapping[str, tuple[str, ...]]:
    """Returns the legal values of the flags that have a fixed list."""
    return {
        name: tuple(field.metadata["choices"])
        for name, field in FIELDS.items()
        if field.metadata.get("choices")
    }


def _flags() -> list[str]:
    """Returns the flags as they are typed; those with a value end in "="."""
    found = ["--help", "--version"]
    for name, field in FIELDS.items():
        if isinstance(field.default, bool):
            found += [f"--{name}", f"--no{name}"]
        else:
            found.append(f"--{name}=")
    return found
