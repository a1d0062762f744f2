#!/bin/sh
# Signs the digest on standard input with a key in a PKCS#11 token, such as a
# YubiKey, a Nitrokey or SoftHSM, by pkcs11-tool of OpenSC:
#
#   export PKCS11_PIN=1234
#   slipway build --key 'exec:pkcs11.sh?pub=key.pem&arg=MODULE.so&arg=KEY-ID'
#
# KEY-ID is the CKA_ID of the key in hex. A token signs RSA in the form that
# PKCS#1 v1.5 gives a SHA-256: 19 fixed bytes, then the digest.
set -eu
: "${PKCS11_PIN:?is not set}"
case $SLIPWAY_ALGORITHM in
rsa-pkcs1v15-sha256) mechanism=RSA-PKCS ;;
ecdsa-sha256) mechanism=ECDSA ;;
*)
	echo "$SLIPWAY_ALGORITHM: not a kind of key this script signs with" >&2
	exit 3
	;;
esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
{
	if [ $mechanism = RSA-PKCS ]; then
		printf '\060\061\060\015\006\011\140\206\110\001\145\003\004\002\001\005\000\004\040'
	fi
	cat
} >"$work/in"
"${PKCS11_TOOL:-pkcs11-tool}" --module "$1" --id "$2" --login --pin env:PKCS11_PIN \
	--sign --mechanism $mechanism --signature-format openssl \
	--input-file "$work/in" --output-file "$work/out" >&2
cat "$work/out"
