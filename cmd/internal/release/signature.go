package release

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"slipway/signing/key"
)

// Signatures is the file beside release.json with the signatures over it, a
// JSON array of [Signature].
const Signatures = "release.json.sig"

// maxSignatures bounds how many signatures a release has.
const maxSignatures = 16

// Signer makes signatures by one private key.
type Signer interface {
	KeyID() string
	Algorithm() string
	SignDigest(ctx context.Context, digest [32]byte) ([]byte, error)
}

// Signature is one signature over the SHA-256 digest of release.json. For RSA
// and ECDSA it is what "openssl dgst -sha256 -verify" takes; Ed25519 signs the
// 32 bytes of the digest.
type Signature struct {
	KeyID     string `json:"key_id"`
	Algorithm string `json:"algorithm"`
	Signature []byte `json:"signature"` // base64
}

// sign gives the content of the file of signatures for a manifest.
func sign(ctx context.Context, manifest []byte, signers []Signer) ([]byte, error) {
	list, err := signDigest(ctx, Manifest, sha256.Sum256(manifest), signers)
	if err != nil {
		return nil, err
	}
	return encodeSignatures(list)
}

// signDigest has every signer sign. All are asked before it fails with the
// errors of those that did not.
func signDigest(ctx context.Context, what string, digest [32]byte, signers []Signer) ([]Signature, error) {
	if len(signers) == 0 || len(signers) > maxSignatures {
		return nil, fmt.Errorf("%s: %d signers, want 1 to %d", what, len(signers), maxSignatures)
	}
	list := make([]Signature, len(signers))
	var errs []error
	for i, s := range signers {
		signature, err := s.SignDigest(ctx, digest)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: sign with key %s: %w", what, s.KeyID(), err))
		}
		list[i] = Signature{s.KeyID(), s.Algorithm(), signature}
	}
	return list, errors.Join(errs...)
}

// replaceSignatures adds signatures, in place of older ones by the same keys.
func replaceSignatures(what string, list, added []Signature) ([]Signature, error) {
	list = append(slices.DeleteFunc(slices.Clone(list), func(old Signature) bool {
		return slices.ContainsFunc(added, func(s Signature) bool { return s.KeyID == old.KeyID })
	}), added...)
	if len(list) > maxSignatures {
		return nil, fmt.Errorf("%s: %d signatures, want at most %d", what, len(list), maxSignatures)
	}
	return list, nil
}

func encodeSignatures(list []Signature) ([]byte, error) {
	text, err := json.MarshalIndent(list, "", "  ")
	return append(text, '\n'), err
}

// UnsignedError says that no signature is by an accepted key.
type UnsignedError struct {
	File       string   // that is signed, or should be
	Have, Want []string // key ids
}

// Error names the keys on both sides.
func (e *UnsignedError) Error() string {
	have, want := strings.Join(e.Have, ", "), strings.Join(e.Want, ", ")
	if have == "" {
		have = "nobody"
	}
	if want == "" {
		want = "none"
	}
	return fmt.Sprintf("%s: not signed by an accepted key: signed by %s; accepted: %s", e.File, have, want)
}

// ReadSigned reads the release.json of a directory after its signatures have
// been verified: one at least has to be by one of the keys, and every one that
// is has to be right. It gives the ids of those keys too.
func ReadSigned(dir string, keys []key.Key) (*Info, []string, error) {
	text, err := readBounded(filepath.Join(dir, Manifest))
	if err != nil {
		return nil, nil, err
	}
	list, err := ReadSignatures(dir)
	if err != nil {
		return nil, nil, err
	}
	good, err := verifySignatures(Signatures, sha256.Sum256(text), list, keys)
	if err != nil {
		return nil, nil, err
	}
	info, err := parse(text, filepath.Join(dir, Manifest))
	return info, good, err
}

// verifySignatures checks the signatures of a file by the keys.
func verifySignatures(file string, digest [32]byte, list []Signature, keys []key.Key) ([]string, error) {
	unsigned := &UnsignedError{File: file}
	for _, k := range keys {
		unsigned.Want = append(unsigned.Want, k.ID)
	}
	var good []string
	for _, s := range list {
		i := slices.IndexFunc(keys, func(k key.Key) bool { return k.ID == s.KeyID })
		switch {
		case i < 0:
			unsigned.Have = append(unsigned.Have, fmt.Sprintf("%.20s", s.KeyID))
		case s.Algorithm != keys[i].Algorithm:
			return nil, fmt.Errorf("%s: signature by %s is %.40q, the key is for %q",
				file, s.KeyID, s.Algorithm, keys[i].Algorithm)
		case !keys[i].VerifyDigest(digest, s.Signature):
			return nil, fmt.Errorf("%s: bad signature by %s: %s was changed after it was signed",
				file, s.KeyID, strings.TrimSuffix(file, ".sig"))
		default:
			good = append(good, s.KeyID)
		}
	}
	if len(good) == 0 {
		return nil, unsigned
	}
	return good, nil
}

// ReadSignatures reads the signatures of a release without verifying them.
func ReadSignatures(dir string) ([]Signature, error) {
	name := filepath.Join(dir, Signatures)
	text, err := readBounded(name)
	if err != nil {
		return nil, err
	}
	var list []Signature
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(list) > maxSignatures {
		return nil, fmt.Errorf("%s: %d signatures, want at most %d", name, len(list), maxSignatures)
	}
	return list, nil
}

// readBounded reads a small file.
func readBounded(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxManifest+1))
	if err == nil && len(text) > maxManifest {
		err = errors.New("too large")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return text, nil
}
