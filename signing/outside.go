package signing

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unicode"

	"slipway/signing/key"
)

// ErrPending is wrapped by SignDigest when the digest was handed out and its
// signature is not back yet.
var ErrPending = errors.New("to be signed elsewhere")

// ErrNoOutside is wrapped when a key is not here and nobody said where to put
// digests.
var ErrNoOutside = errors.New("this key is not here, and there is nowhere to put digests")

// OnlyPending says that an error is nothing but signatures that are to be made
// elsewhere: every error it joins wraps ErrPending.
func OnlyPending(err error) bool {
	switch e := err.(type) {
	case nil:
		return false
	case interface{ Unwrap() []error }:
		all := e.Unwrap()
		return len(all) > 0 && !slices.ContainsFunc(all, func(err error) bool { return !OnlyPending(err) })
	case interface{ Unwrap() error }:
		return OnlyPending(e.Unwrap())
	}
	return err == ErrPending
}

// Index is the file in Outside.Out that says what each digest is: a JSON
// object (Request) a line.
const Index = "digests.jsonl"

// Outside exchanges digests and signatures with those who hold keys that are
// not here: a signing room without a network, a colleague. For a digest it
// looks in In for KEYID-DIGEST.sig, the signature alone, as package signing/key
// describes it. What is missing goes to Out as KEYID-DIGEST.digest, the 32
// bytes, and into Index. Since builds are deterministic, the same command with
// the signatures at hand goes on where this one stopped.
//
// The names are of the key id and the digest in hex. In and Out may be the same
// directory; "" leaves one out.
type Outside struct {
	Out, In string

	mu      sync.Mutex
	pending []Request
}

// Request is one signature somebody else is to make.
type Request struct {
	KeyID     string `json:"key_id"`
	Algorithm string `json:"algorithm"`
	Digest    string `json:"digest"` // SHA-256 in hex
	What      string `json:"what"`   // in words, see About
	File      string `json:"file"`   // with the digest, in Out
	Signature string `json:"signature"`
}

// Pending lists what was handed out.
func (o *Outside) Pending() []Request {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.pending)
}

// openPublic makes a signer of a public key.
func openPublic(name string, o *Options) (Signer, error) {
	k, development, err := readPublic(o.path(name))
	if err != nil {
		return nil, err
	}
	if o.Outside != nil && o.Outside.In == "" && o.Outside.Out == "" {
		return nil, ErrNoOutside
	}
	return New(k, development, func(ctx context.Context, digest [32]byte) ([]byte, error) {
		if o.Outside == nil {
			return nil, ErrNoOutside
		}
		return o.Outside.sign(ctx, k, digest)
	}), nil
}

// readPublic reads a public key and whether it is marked as a development key.
func readPublic(name string) (key.Key, bool, error) {
	text, err := readKeyFile(name)
	if err != nil {
		return key.Key{}, false, err
	}
	k, err := key.Parse(text)
	return k, isDevelopment(text), err
}

func (o *Outside) sign(ctx context.Context, k key.Key, digest [32]byte) ([]byte, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	name := k.ID + "-" + hex.EncodeToString(digest[:])
	if o.In != "" {
		path := filepath.Join(o.In, name+".sig")
		signature, err := readKeyFile(path)
		if err == nil && !k.VerifyDigest(digest, signature) {
			return nil, fmt.Errorf("%s: not a signature over this digest by key %s", path, k.ID)
		}
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			return signature, err
		}
	}
	if o.Out == "" {
		return nil, fmt.Errorf("%s.sig: not in %s: %w", name, o.In, ErrNoOutside)
	}
	what, _ := ctx.Value(about{}).(string)
	r := Request{
		KeyID: k.ID, Algorithm: k.Algorithm, Digest: hex.EncodeToString(digest[:]), What: what,
		File: name + ".digest", Signature: name + ".sig",
	}
	if err := o.handOut(r, digest); err != nil {
		return nil, err
	}
	if !slices.Contains(o.pending, r) {
		o.pending = append(o.pending, r)
	}
	return nil, fmt.Errorf("%.16s...: %w", r.Digest, ErrPending)
}

// handOut writes the digest and, once, its line in the index.
func (o *Outside) handOut(r Request, digest [32]byte) error {
	if err := os.MkdirAll(o.Out, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(o.Out, r.File), digest[:], 0o644); err != nil {
		return err
	}
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	index := filepath.Join(o.Out, Index)
	text, err := os.ReadFile(index)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if slices.Contains(strings.Split(string(text), "\n"), string(line)) {
		return nil
	}
	return os.WriteFile(index, slices.Concat(text, line, []byte("\n")), 0o644)
}

// maxIndex bounds what is read of an Index, in bytes.
const maxIndex = 1 << 20

// ReadRequests reads the Index of a directory and checks it against the files
// with the digests.
func ReadRequests(dir string) ([]Request, error) {
	path := filepath.Join(dir, Index)
	st, err := os.Stat(path)
	if err == nil && st.Size() > maxIndex {
		err = fmt.Errorf("%s: more than %d bytes", path, maxIndex)
	}
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	list, err := parseRequests(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, r := range list {
		name := filepath.Join(dir, r.File)
		if data, err := readKeyFile(name); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		} else if hex.EncodeToString(data) != r.Digest {
			return nil, fmt.Errorf("%s: not the digest its name says", name)
		}
	}
	return list, nil
}

// parseRequests reads the lines of an Index. They come from another machine:
// names must lead nowhere else, and words must be fit for a terminal.
func parseRequests(text []byte) ([]Request, error) {
	var list []Request
	for i, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		var r Request
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		name := r.KeyID + "-" + r.Digest
		switch {
		case !isHex(r.KeyID, 16):
			return nil, fmt.Errorf("line %d: key %.40q: not an id", i+1, r.KeyID)
		case !isHex(r.Digest, 64):
			return nil, fmt.Errorf("line %d: digest %.80q: not a SHA-256 in hex", i+1, r.Digest)
		case r.File != name+".digest" || r.Signature != name+".sig":
			return nil, fmt.Errorf("line %d: file %.120q does not belong to digest %s", i+1, r.File, r.Digest)
		case len(r.What) > 200 || strings.ContainsFunc(r.What, func(c rune) bool { return !unicode.IsPrint(c) }):
			return nil, fmt.Errorf("line %d: %.40q are no words", i+1, r.What)
		}
		list = append(list, r)
	}
	return list, nil
}

// isHex says whether s is n hex digits in lower case.
func isHex(s string, n int) bool {
	return len(s) == n && strings.Trim(s, "0123456789abcdef") == ""
}

// Answer signs a request with a key that is here and writes the signature
// into the directory of the request.
func (r *Request) Answer(ctx context.Context, dir string, s Signer) error {
	sum, err := hex.DecodeString(r.Digest)
	if err != nil || len(sum) != 32 {
		return fmt.Errorf("digest %q: not a SHA-256 in hex", r.Digest)
	}
	signature, err := s.SignDigest(ctx, [32]byte(sum))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, r.Signature), signature, 0o644)
}
