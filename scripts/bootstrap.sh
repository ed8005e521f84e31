#!/bin/sh
# Fetches, checks and runs soci-bootstrap's zipapp: [COMMAND=install] [OPTION]...
# Ends with its status, or 2 before it ran; 1 for bad usage, bake, --root, --strict.
{ # cut short: a syntax error
give_up() {
  echo "soci-bootstrap: ERROR $(printf %s "$*" | tr '\n' ' '); nothing was changed" >&2
  exit "$failed"
}

settle() {
  failed=2 limit=${SOCI_BOOTSTRAP_DEADLINE:-} file=${SOCI_BOOTSTRAP_CONFIG:-/etc/soci-bootstrap/config.toml} end='' last=
  case ${SOCI_BOOTSTRAP_STRICT:-} in [1tTyY]* | [oO][nN]) failed=1 ;; esac
  for word in "$command" "$@"; do
    case $last$word in
      bake | --strict | --root*) failed=1 ;;
      --deadline?*) limit=${word#*=} ;;
      --config?*) file=${word#--config=} ;;
    esac
    case $word in --deadline | --config) last=$word ;; *) last= ;; esac
  done
  [ "$limit" ] || limit=$(sed -n 's/^ *deadline[= "]*//p' "$file" 2>/dev/null)
  limit=${limit%%[!0-9]*}
}

left() {
  read -r up </proc/uptime
  up=${up%%.*} left=$((${end:=$((up + ${limit:=120}))} - up))
  [ "$left" -gt 0 ] || give_up "the deadline of $limit s passed fetching $shown"
}

fetch() {
  case $url in
    https://*) set -- curl -gfsSL --proto =https --tlsv1.2 --connect-timeout 9 --retry 3 -o "$zipapp" "$url" ;;
    s3://*) set -- aws s3 cp --only-show-errors "$url" "$zipapp" ;;
    file:///*) set -- cp "${url#file://}" "$zipapp" ;;
    *) failed=1; give_up "can't fetch $shown: expected https://, s3:// or file:///" ;;
  esac
  for pause in 1 3 0; do
    left
    why=$(trap '' XFSZ; ulimit -f 8192; timeout "$left" "$@" 2>&1) # 4 MiB
    case $1-$? in *-0) return ;; curl-[67] | curl-[1359][2568]) sleep $pause ;; *) break ;; esac
  done
  left
  give_up "can't fetch $shown: $why"
}

main() {
  set +eu
  export LC_ALL=C HOME="${HOME:-/root}" PATH="${PATH:+$PATH:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin"
  url=${SOCI_BOOTSTRAP_ZIPAPP_URL:-@ZIPAPP_URL@} sha256=${SOCI_BOOTSTRAP_ZIPAPP_SHA256:-@ZIPAPP_SHA256@}
  shown=$(echo "$url" | sed 's|//[^/]*@|//|;s|?.*||') # no secrets
  case ${1:-} in -* | '') command=install ;; *) command=$1; shift ;; esac
  settle "$@"
  left
  case $url$sha256 in *@ZIP*) failed=1; give_up "set SOCI_BOOTSTRAP_ZIPAPP_URL and SOCI_BOOTSTRAP_ZIPAPP_SHA256" ;; esac
  for python in /usr/bin/python3 python3 python3.11 python3.9 false; do
    "$python" -Ic 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null && break
  done
  [ "$python" != false ] || give_up "no Python 3.9 or newer; install python3"
  dir=$(mktemp -d /run/soci-bootstrap.XXXXXX 2>&1) || give_up "$dir; run this as root"
  trap 'rm -rf "$dir"' EXIT
  trap 'exit 143' HUP INT TERM
  zipapp=$dir/agent.pyz
  fetch
  found=$(sha256sum <"$zipapp" | cut -c -64)
  [ "$found" = "$sha256" ] || give_up "$shown: found sha256 $found, expected $sha256"
  left
  case $command in install | bake) set -- "$@" --deadline "$left" ;; esac
  "$python" -I "$zipapp" "$command" "$@" </dev/null
}

main "$@"
}
