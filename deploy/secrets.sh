#!/bin/sh
# Create deploy/secrets/ for docker-compose.yml: passwords, a certificate authority of its own, and the certificates of
# broker and database. It overwrites nothing. Needs openssl.
set -eu
cd "$(dirname "$0")"

[ ! -e secrets ] || {
    echo "secrets: deploy/secrets is there already. For new passwords see 'New passwords' in deploy/README.md" >&2
    exit 1
}
umask 077
mkdir secrets.new
new=$PWD/secrets.new
trap 'rm -rf "$new"' EXIT
cd secrets.new

days=3650
ca_file=${CA_FILE:-/run/secrets/ca.crt} # where clients find ca.crt: here as Compose mounts it
key="ec -pkeyopt ec_paramgen_curve:prime256v1" # not Ed25519: libpq cannot bind a password to its certificates
quiet() { "$@" 2>openssl.log || { cat openssl.log >&2; exit 1; }; rm -f openssl.log; }
password() { openssl rand -hex 24; }

quiet openssl req -x509 -newkey $key -nodes -days $days -subj "/CN=charrnn-jobs" -keyout ca.key -out ca.crt \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign
certificate() {
    quiet openssl req -newkey $key -nodes -subj "/CN=$1" -addext "subjectAltName=DNS:$1" -keyout "$1.key" -out "$1.csr"
    quiet openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -days $days -copy_extensions copy -out "$1.crt"
    rm "$1.csr"
}
certificate redis
certificate postgres
rm ca.key # with this key anybody could impersonate both servers; another run creates a new authority

redis=$(password)
sed "s/PASSWORD_SHA256/$(printf %s "$redis" | sha256sum | cut -d ' ' -f 1)/" ../redis.acl >redis.acl
echo "rediss://charrnn:$redis@redis:6379/0?ssl_cert_reqs=required&ssl_ca_certs=$ca_file" >redis_url

postgres=$(password)
printf %s "$postgres" >postgres_password
echo "postgresql://charrnn:$postgres@postgres/charrnn?sslmode=verify-full&sslrootcert=$ca_file" >store_url

password >web_token # opens the web interface

cat >aws_credentials <<'END'
# For CHARRNN_FILES_URL=s3://bucket/folder, remove the # signs and fill in:
# [default]
# aws_access_key_id =
# aws_secret_access_key =
END

# Compose mounts these files with their modes, and a container's user is another one that must read them. Only the
# owner can change them, or enter the folder.
chmod 644 ./*
cd ..
mv secrets.new secrets
echo "secrets: made in deploy/secrets, which only the user $(id -un) can enter"
