#!/usr/bin/env bash
# Builds the servers that the tests start from published Go modules: kube-apiserver, etcd, consul; unpacks an old Consul
# from a Debian package. `cargo xtask servers` runs it. Idempotent: a program whose stamp matches is kept.
#   build.sh -o OUT_DIR [-w WORK_DIR] [-j JOBS] [-f] kube-apiserver|etcd|consul|consul-debian ...
# Needs go >= 1.26 with a module proxy in reach, 3.5 GiB of memory and 7.5 GiB of disk for its caches. No go.mod or
# go.sum is kept: the wrapper modules are written here, and the checksum database verifies what is downloaded.
# consul-debian needs no compiler: Consul 1.8.7 of bullseye, through the archive that apt uses, into OUT_DIR/debian/.
set -euo pipefail
K8S_VERSION=${K8S_VERSION:-1.37.2}
CONSUL_VERSION=${CONSUL_VERSION:-1.22.7}
CONSUL_API_VERSION=${CONSUL_API_VERSION:-1.34.1} # 1.33.7, which consul 1.22.7 names, does not compile
OUT= WORK= JOBS=$(nproc 2>/dev/null || echo 2) FORCE=
while getopts o:w:j:f o; do
  case $o in o) OUT=$OPTARG ;; w) WORK=$OPTARG ;; j) JOBS=$OPTARG ;; f) FORCE=1 ;; *) sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 64 ;; esac
done
shift $((OPTIND - 1)); [ -n "$OUT" ] || { echo "build.sh: -o OUT_DIR is required" >&2; exit 64; }
mkdir -p "$OUT"; OUT=$(cd "$OUT" && pwd)
if [ -z "$WORK" ]; then WORK=$(mktemp -d); trap 'rm -rf "$WORK"' EXIT; fi
mkdir -p "$WORK"; WORK=$(cd "$WORK" && pwd)
export GOTOOLCHAIN=local GOWORK=off GO111MODULE=on CGO_ENABLED=0 GOFLAGS=-mod=mod

fresh() { [ -z "$FORCE" ] && [ -x "$OUT/$1" ] && [ "$(cat "$OUT/$1.stamp" 2>/dev/null)" = "$2" ]; }
put() { # put NAME FILE STAMP: appears whole or not at all
  mkdir -p "$(dirname "$OUT/$1")"; rm -f "$OUT/$1.stamp"; chmod 755 "$2"
  mv -f "$2" "$OUT/$1.new"; mv -f "$OUT/$1.new" "$OUT/$1"; echo "$3" >"$OUT/$1.stamp"
  echo "build.sh: $1 $3 $(($(stat -c %s "$OUT/$1") >> 20)) MiB, $SECONDS s since start" >&2
}
need_go() { # need_go MINOR
  local v; v=$(go env GOVERSION 2>/dev/null) || { echo "build.sh: no go" >&2; exit 69; }
  v=${v#go1.}; v=${v%%[!0-9]*}
  [ "${v:-0}" -ge "$1" ] || { echo "build.sh: go 1.$1 or newer needed" >&2; exit 69; }
}
gobuild() { # gobuild DIR OUTPUT PACKAGE [flags]; finished packages stay in GOCACHE, so a killed build goes on where it was
  local dir=$1 out=$2 pkg=$3; shift 3
  (cd "$dir" && nice -n 10 go build -p "$JOBS" -trimpath -buildvcs=false "$@" -o "$out" "$pkg")
}
kas_module() { # wrapper: kubernetes requires its staging modules at v0.0.0 and replaces of dependencies do not count
  local mod; mkdir -p "$WORK/kas"
  mod=$(cd "$WORK/kas" && rm -f go.mod go.sum && go mod download -json "k8s.io/kubernetes@v$K8S_VERSION" | sed -n 's/^\t"GoMod": "\(.*\)",\{0,1\}$/\1/p')
  {
    printf 'module kas\n\n'
    sed -n '/^go [0-9]/p; /^godebug /p' "$mod"
    printf '\nrequire k8s.io/kubernetes v%s\n\nreplace (\n' "$K8S_VERSION"
    sed -n "s#^[[:space:]]*\(k8s.io/[a-z-]*\) => ./staging/.*#\t\1 => \1 v0.${K8S_VERSION#1.}#p" "$mod"
    printf ')\n'
  } >"$WORK/kas/go.mod"
}
debian() { # debian PACKAGE SUITE BINARY NAME: unpack one binary of a package without touching the system's apt state
  local a="$WORK/apt-$2" uri
  uri=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list 2>/dev/null |
    sed -n 's/^URIs:[[:space:]]*\([^[:space:]]*\).*/\1/p; s/^deb \(\[[^]]*\] \)\{0,1\}\([^ ]*\) .*/\2/p' |
    grep '/debian/\{0,1\}$' | sed -n 1p) || true
  [ -n "$uri" ] || { echo "build.sh: no Debian archive in the apt configuration" >&2; exit 69; }
  mkdir -p "$a/parts" "$a/lists/partial" "$a/cache/archives/partial" "$a/x"
  printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n' "$uri" "$2" >"$a/parts/d.sources"
  local opt=(-o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts="$a/parts" -o Dir::State::Lists="$a/lists"
    -o Dir::Cache="$a/cache" -o Acquire::Languages=none -o APT::Sandbox::User=root)
  apt-get "${opt[@]}" -qq update
  (cd "$a" && apt-get "${opt[@]}" -qq download "$1" && dpkg-deb -x "$1"_*.deb x)
  put "$4" "$a/x/$3" "debian $2"
}

for name; do
  case $name in
    kube-apiserver)
      stamp="k8s $K8S_VERSION"; fresh kube-apiserver "$stamp" && continue
      need_go 26; kas_module
      minor=${K8S_VERSION#1.}; minor=${minor%%.*}; x="-s -w"
      for p in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        x="$x -X $p.gitVersion=v$K8S_VERSION -X $p.gitMajor=1 -X $p.gitMinor=$minor -X $p.gitTreeState=archive -X $p.buildDate=1970-01-01T00:00:00Z"
      done
      gobuild "$WORK/kas" "$WORK/kube-apiserver" k8s.io/kubernetes/cmd/kube-apiserver -tags notest,grpcnotrace -ldflags "$x"
      put kube-apiserver "$WORK/kube-apiserver" "$stamp" ;;
    etcd) # the version that this kubernetes is built with, from the same module graph
      stamp="etcd of k8s $K8S_VERSION"; fresh etcd "$stamp" && continue
      need_go 26; [ -s "$WORK/kas/go.mod" ] || kas_module
      gobuild "$WORK/kas" "$WORK/etcd.bin" go.etcd.io/etcd/server/v3 -tags notest,grpcnotrace -ldflags "-s -w"
      put etcd "$WORK/etcd.bin" "$stamp" ;;
    consul)
      stamp="consul $CONSUL_VERSION"; fresh consul "$stamp" && continue
      need_go 25; mkdir -p "$WORK/csl"; rm -f "$WORK/csl/go.sum"
      printf 'module csl\n\ngo 1.25.9\n\nrequire (\n\tgithub.com/hashicorp/consul v%s\n\tgithub.com/hashicorp/consul/api v%s\n)\n' \
        "$CONSUL_VERSION" "$CONSUL_API_VERSION" >"$WORK/csl/go.mod"
      gobuild "$WORK/csl" "$WORK/consul.bin" github.com/hashicorp/consul -ldflags "-s -w"
      put consul "$WORK/consul.bin" "$stamp" ;;
    consul-debian) fresh debian/consul "debian bullseye" || debian consul bullseye usr/bin/consul debian/consul ;;
    *) echo "build.sh: unknown name $name" >&2; exit 64 ;;
  esac
done
