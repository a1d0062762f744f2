package archive

import (
	"bytes"
	"crypto"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
	pgperrors "github.com/ProtonMail/go-crypto/openpgp/errors"
	"github.com/ProtonMail/go-crypto/openpgp/packet"
)

// What can be wrong with an InRelease file. The error returned is a
// ReleaseError that wraps one of these.
var (
	ErrUnsigned    = errors.New("not signed")
	ErrTampered    = errors.New("signature does not match the content")
	ErrUnknownKey  = errors.New("signed by no known key")
	ErrKeyExpired  = errors.New("signing key has expired")
	ErrKeyRevoked  = errors.New("signing key is revoked")
	ErrWeakDigest  = errors.New("signature uses a broken digest")
	ErrExpired     = errors.New("expired")
	ErrFuture      = errors.New("date lies in the future")
	ErrWrongSuite  = errors.New("is of another suite")
	ErrNoIndex     = errors.New("no such index")
	ErrBadContents = errors.New("content is malformed")
)

// ReleaseError says which suite's InRelease is not acceptable and why.
type ReleaseError struct {
	Suite  string
	Err    error  // one of the sentinels above
	Detail string // what was found and what was expected
}

// Error is one line.
func (e *ReleaseError) Error() string {
	if e.Detail == "" {
		return fmt.Sprintf("InRelease of %s: %v", e.Suite, e.Err)
	}
	return fmt.Sprintf("InRelease of %s: %v: %s", e.Suite, e.Err, e.Detail)
}

// Unwrap gives the sentinel.
func (e *ReleaseError) Unwrap() error { return e.Err }

// Hint says what helps, or is empty.
func (e *ReleaseError) Hint() string {
	switch e.Err {
	case ErrUnsigned, ErrTampered, ErrBadContents:
		return "the mirror or something on the way to it changed the file: use another mirror (--mirror URL)"
	case ErrUnknownKey, ErrKeyExpired, ErrKeyRevoked:
		return "add the archive's current key to the overlay's keys if you trust it"
	case ErrExpired:
		return "the mirror is not updated any more, or this machine's clock is wrong: use another mirror (--mirror URL), or --allow-expired for a mirror of the past"
	case ErrNoIndex:
		return "check the names of components, and the architecture"
	case ErrFuture:
		return "set this machine's clock"
	}
	return ""
}

// maxSignatures bounds the work on hostile input.
const maxSignatures = 32

// verifyClearsigned returns the signed text and the fingerprints of the keys
// with a good signature on it, at least one. Only that text may be believed.
func verifyClearsigned(data []byte, o *SuiteOptions) ([]byte, []string, error) {
	refuse := func(err error, format string, args ...any) ([]byte, []string, error) {
		return nil, nil, &ReleaseError{Suite: o.Suite, Err: err, Detail: fmt.Sprintf(format, args...)}
	}
	if !bytes.HasPrefix(data, []byte("-----BEGIN PGP SIGNED MESSAGE-----")) {
		return refuse(ErrUnsigned, "it does not begin as a signed message")
	}
	block, rest := clearsign.Decode(data)
	if block == nil {
		return refuse(ErrUnsigned, "it does not hold a whole signed message")
	}
	if len(bytes.TrimSpace(rest)) > 0 {
		return refuse(ErrTampered, "%d bytes follow the signature", len(rest))
	}
	var good []string
	var bad []*badSignature
	packets := packet.NewOpaqueReader(block.ArmoredSignature.Body)
	for range maxSignatures {
		p, err := packets.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return refuse(ErrTampered, "unreadable signature: %v", err)
		}
		signer, problem := checkSignature(p, block.Bytes, o)
		if problem != nil {
			bad = append(bad, problem)
			continue
		}
		good = append(good, signer)
	}
	if len(good) > 0 {
		return block.Plaintext, good, nil
	}
	if len(bad) == 0 {
		return refuse(ErrUnsigned, "there is no signature in it")
	}
	problem := worst(bad)
	return refuse(problem.err, "%s", problem.detail)
}

// badSignature is why one signature does not count.
type badSignature struct {
	err    error
	detail string
}

// worst picks what tells most about a file without a good signature. A list of
// unknown keys names them all.
func worst(bad []*badSignature) *badSignature {
	for _, err := range []error{ErrTampered, ErrKeyRevoked, ErrKeyExpired, ErrWeakDigest} {
		for _, b := range bad {
			if b.err == err {
				return b
			}
		}
	}
	var keys []string
	for _, b := range bad {
		keys = append(keys, b.detail)
	}
	return &badSignature{ErrUnknownKey, strings.Join(keys, ", ")}
}

// checkSignature verifies one signature packet and returns the fingerprint of
// its key.
func checkSignature(p *packet.OpaquePacket, signed []byte, o *SuiteOptions) (string, *badSignature) {
	parsed, err := p.Parse()
	sig, ok := parsed.(*packet.Signature)
	if err != nil || !ok || sig.IssuerKeyId == nil {
		return "", &badSignature{ErrUnknownKey, "a signature of unknown form"}
	}
	id := fmt.Sprintf("key %016X", *sig.IssuerKeyId)
	switch sig.Hash {
	case crypto.SHA256, crypto.SHA384, crypto.SHA512, crypto.SHA3_256, crypto.SHA3_512:
	default:
		return "", &badSignature{ErrWeakDigest, fmt.Sprintf("%s used %v", id, sig.Hash)}
	}
	now := o.Now
	// A clock that is behind shows in the Date, with a better message.
	if o.AllowExpired || sig.CreationTime.After(now) {
		now = sig.CreationTime
	}
	var keys openpgp.EntityList
	if o.Keys != nil {
		keys = o.Keys.entities
	}
	var raw bytes.Buffer
	if err := p.Serialize(&raw); err != nil {
		return "", &badSignature{ErrUnknownKey, "a signature of unknown form"}
	}
	config := &packet.Config{Time: func() time.Time { return now }}
	_, signer, err := openpgp.VerifyDetachedSignature(keys, bytes.NewReader(signed), &raw, config)
	switch {
	case err == nil:
		return fingerprint(signer), nil
	case errors.Is(err, pgperrors.ErrUnknownIssuer):
		return "", &badSignature{ErrUnknownKey, id}
	case errors.Is(err, pgperrors.ErrKeyRevoked):
		return "", &badSignature{ErrKeyRevoked, id}
	case errors.Is(err, pgperrors.ErrKeyExpired), errors.Is(err, pgperrors.ErrSignatureExpired):
		return "", &badSignature{ErrKeyExpired, fmt.Sprintf("%s, %v", id, err)}
	}
	return "", &badSignature{ErrTampered, fmt.Sprintf("%s: %v", id, err)}
}
