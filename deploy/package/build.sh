#!/usr/bin/env bash
# Builds what is released: for each architecture a static program in a tar.gz and a .deb, and the checksums of all.
# The same source gives the same bytes, on any machine with the same Go and dpkg.
#
#   deploy/package/build.sh VERSION DIRECTORY [ARCHITECTURE…]     v1.2.3 dist amd64 arm64
set -euo pipefail
if [ $# -lt 2 ]; then
  sed -n '2,5s/^# \{0,1\}//p' "$0" >&2
  exit 1
fi
version=$1
out=$(mkdir -p "$2" && cd "$2" && pwd)
shift 2
cd "$(dirname "$0")/../.."
[ $# -gt 0 ] || set -- amd64 arm64
# The time of everything in the packages: that of the commit, unless given.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH
export LC_ALL=C TZ=UTC CGO_ENABLED=0 GOFLAGS=-mod=readonly
umask 022
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# What is the same on every architecture. The program of this machine makes it.
shared=$work/shared
mkdir -p "$shared/man" "$shared/completions" "$shared/licences"
go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$version" -o "$work/rollcall" ./cmd/rollcall
for shell in bash zsh fish; do
  "$work/rollcall" completion "$shell" >"$shared/completions/rollcall.$shell"
done
go test ./cmd/rollcall -run '^TestManPages$' -count=1 -man "$shared/man" >"$work/man.log" || { cat "$work/man.log" >&2; exit 1; }
gzip -n9 "$shared"/man/*.1
# The licence of every module in the program, and of Go itself.
cp "$(go env GOROOT)/LICENSE" "$shared/licences/go.txt" 2>/dev/null || true
go list -deps -f '{{with .Module}}{{if not .Main}}{{.Path}} {{.Version}} {{.Dir}}{{end}}{{end}}' ./cmd/rollcall | sort -u |
  while read -r module release dir; do
    files=$(find "$dir" -maxdepth 1 -type f \( -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'notice*' \) | sort)
    if [ -z "$files" ]; then
      echo "$module has no licence file" >&2
      exit 1
    fi
    # shellcheck disable=SC2086
    cat $files >"$shared/licences/$(tr '/' '_' <<<"$module").txt"
    echo "$module $release"
  done >"$shared/licences/MODULES"

for arch in "$@"; do
  name=rollcall-$version-linux-$arch
  tree=$work/$name
  mkdir -p "$tree"
  GOOS=linux GOARCH=$arch go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$version" -o "$tree/rollcall" ./cmd/rollcall
  cp -r "$shared/man" "$shared/completions" "$shared/licences" "$tree/"
  cp LICENSE README.md CHANGELOG.md "$tree/"
  mkdir "$tree/systemd"
  cp deploy/systemd/*.service deploy/systemd/rollcall.env deploy/systemd/agent.yaml deploy/systemd/rollcall.sysusers "$tree/systemd/"
  tar -C "$work" --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=u+rw,go=rX -cf - "$name" | gzip -n9 >"$out/$name.tar.gz"

  deb=$work/deb-$arch
  install -D -m 755 "$tree/rollcall" "$deb/usr/bin/rollcall"
  install -D -m 644 deploy/systemd/rollcall.service "$deb/lib/systemd/system/rollcall.service"
  install -D -m 644 deploy/systemd/rollcall-agent.service "$deb/lib/systemd/system/rollcall-agent.service"
  install -D -m 644 deploy/systemd/rollcall.sysusers "$deb/usr/lib/sysusers.d/rollcall.conf"
  install -D -m 640 deploy/systemd/rollcall.env "$deb/etc/rollcall/rollcall.env"
  install -D -m 640 deploy/systemd/agent.yaml "$deb/etc/rollcall/agent.yaml"
  install -D -m 644 "$shared/completions/rollcall.bash" "$deb/usr/share/bash-completion/completions/rollcall"
  install -D -m 644 "$shared/completions/rollcall.zsh" "$deb/usr/share/zsh/vendor-completions/_rollcall"
  install -D -m 644 "$shared/completions/rollcall.fish" "$deb/usr/share/fish/vendor_completions.d/rollcall.fish"
  mkdir -p "$deb/usr/share/man/man1" "$deb/usr/share/doc/rollcall/licences"
  install -m 644 "$shared"/man/*.gz "$deb/usr/share/man/man1/"
  install -m 644 "$shared"/licences/* "$deb/usr/share/doc/rollcall/licences/"
  install -m 644 LICENSE "$deb/usr/share/doc/rollcall/copyright"
  gzip -n9c CHANGELOG.md >"$deb/usr/share/doc/rollcall/changelog.gz"
  mkdir "$deb/DEBIAN"
  # Debian's order of versions: 1.2.3~rc1 comes before 1.2.3. A version begins with a digit.
  debian=$(sed -e 's/^v//' -e 's/-/~/' -e 's/-/./g' <<<"$version")
  [[ $debian == [0-9]* ]] || debian=0~$debian
  cat >"$deb/DEBIAN/control" <<CONTROL
Package: rollcall
Version: $debian
Architecture: $arch
Maintainer: The Rollcall authors <rollcall@users.noreply.github.com>
Section: net
Priority: optional
Installed-Size: $(du -sk --apparent-size "$deb/usr" "$deb/lib" "$deb/etc" | awk '{s += $1} END {print s}')
Recommends: systemd
Homepage: https://github.com/rollcallhq/rollcall
Description: replicated health registry that speaks grpc.health.v1
 Rollcall keeps the health of services on several nodes, which all have the
 same content. Every node answers the standard gRPC health protocol.
CONTROL
  printf '%s\n' /etc/rollcall/rollcall.env /etc/rollcall/agent.yaml >"$deb/DEBIAN/conffiles"
  for script in postinst prerm postrm; do
    install -m 755 "deploy/package/$script" "$deb/DEBIAN/$script"
  done
  (cd "$deb" && find usr lib etc -type f | sort | xargs md5sum >DEBIAN/md5sums)
  find "$deb" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
  dpkg-deb --root-owner-group -Zxz --build "$deb" "$out/rollcall_${debian}_$arch.deb" >/dev/null
done
(cd "$out" && find . -maxdepth 1 -type f ! -name SHA256SUMS -printf '%f\n' | sort | xargs sha256sum >SHA256SUMS)
