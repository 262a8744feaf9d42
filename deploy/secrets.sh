#!/usr/bin/env bash
# Makes what ../deploy/cluster.yaml needs and nobody may have but you: a
# certificate authority, certificates of servers and clients, an nkey for each
# role, MX's key for the simulator. Usage: deploy/secrets.sh [DIRECTORY]
#
# What is there already stays. To renew a certificate or an nkey, delete its
# files and run this again.
#
# Where certificates and nkeys come from somewhere else, it shows what they must
# say: a server's certificate its host names, for server and client use; a user's,
# client use; the NATS servers get the public halves of the nkeys alone.
#
# Needs openssl, and nk (https://github.com/nats-io/nkeys) or Go to run it with.
set -euo pipefail
umask 077

dir=${1:-$(dirname "$0")/secrets}
mkdir -p "$dir"
cd "$dir"

readonly nk_version=v0.4.16 days=365
readonly roles=(worker operator publisher subscriber oauth)

nk() {
  if type -P nk >/dev/null; then
    command nk "$@"
  else
    go run "github.com/nats-io/nkeys/nk@$nk_version" "$@"
  fi
}

authority() {
  [ -e ca.pem ] && return
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem \
    -days $((10 * days)) -subj "/CN=memberwatch trial authority" \
    -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign" 2>/dev/null
}

# certificate NAME USE [SAN] makes NAME.key and NAME.pem.
certificate() {
  local name=$1 use=$2 san=${3:-}
  [ -e "$name.pem" ] && return
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$name.key" -out "$name.csr" \
    -subj "/CN=$name" 2>/dev/null
  {
    echo "keyUsage=critical,digitalSignature"
    echo "extendedKeyUsage=$use"
    [ -z "$san" ] || echo "subjectAltName=$san"
  } >"$name.ext"
  openssl x509 -req -in "$name.csr" -CA ca.pem -CAkey ca.key -set_serial "0x$(openssl rand -hex 16)" \
    -days "$days" -extfile "$name.ext" -out "$name.pem" 2>/dev/null
  rm "$name.csr" "$name.ext"
}

authority
for name in nats-1 nats-2 nats-3; do
  # As a client too: to the other servers it is one.
  certificate "$name" serverAuth,clientAuth "DNS:$name,DNS:localhost,IP:127.0.0.1"
done
certificate mx serverAuth "DNS:mx,DNS:localhost,IP:127.0.0.1"
for role in "${roles[@]}"; do
  certificate "$role" clientAuth
  [ -e "$role.nk" ] || nk -gen user >"$role.nk"
done
[ -e mx-api-key ] || openssl rand -hex 20 >mx-api-key

# Containers run as you, who alone may read this; as nobody in particular if you
# are root.
user=$(id -u):$(id -g)
if [ "$(id -u)" -eq 0 ]; then
  user=65532:65532
  chown -R "$user" .
fi
{
  echo "RUN_AS=$user"
  echo "SECRETS=$PWD"
  echo "MXSIM_API_KEY=$(cat mx-api-key)"
  for role in "${roles[@]}"; do
    echo "${role^^}_NKEY=$(nk -inkey "$role.nk" -pubout)"
  done
} >cluster.env
echo "secrets are in $PWD"
