package keyset

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"slipway/signing/key"
)

// Signature is one signature over a set.
type Signature struct {
	KeyID     string `json:"key_id"`
	Algorithm string `json:"algorithm"`
	Signature []byte `json:"signature"` // base64 in JSON
}

// File is a set with the signatures over it.
type File struct {
	Set        *Set
	Signatures []Signature
	signed     []byte // the set as JSON without white space
}

// NewFile prepares a set for signing.
func NewFile(s *Set) (*File, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	signed, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	return &File{Set: s, signed: signed}, nil
}

// Read reads a file. It verifies no signature: see Verify.
func Read(text []byte) (*File, error) {
	if len(text) > maxFile {
		return nil, fmt.Errorf("key set: %d bytes, want at most %d", len(text), maxFile)
	}
	var outer struct {
		Set        json.RawMessage `json:"set"`
		Signatures []Signature     `json:"signatures"`
	}
	if err := json.Unmarshal(text, &outer); err != nil {
		return nil, fmt.Errorf("key set: malformed: %w", err)
	}
	if len(outer.Set) == 0 {
		return nil, errors.New("key set: malformed: there is no set in it")
	}
	if len(outer.Signatures) > maxSignatures {
		return nil, fmt.Errorf("key set: %d signatures, want at most %d", len(outer.Signatures), maxSignatures)
	}
	f := &File{Set: new(Set), Signatures: outer.Signatures}
	var compact bytes.Buffer
	if err := json.Compact(&compact, outer.Set); err != nil {
		return nil, fmt.Errorf("key set: malformed: %w", err)
	}
	f.signed = compact.Bytes()
	if err := json.Unmarshal(f.signed, f.Set); err != nil {
		return nil, fmt.Errorf("key set: malformed: %w", err)
	}
	return f, f.Set.Validate()
}

// Encode gives the file as text, indented for people.
func (f *File) Encode() ([]byte, error) {
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false) // what is signed stays as it is
	enc.SetIndent("", "  ")
	err := enc.Encode(struct {
		Set        json.RawMessage `json:"set"`
		Signatures []Signature     `json:"signatures"`
	}{f.signed, append([]Signature{}, f.Signatures...)})
	if err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	return text.Bytes(), nil
}

// Digest is what signatures are made over.
func (f *File) Digest() [32]byte {
	return sha256.Sum256(slices.Concat([]byte(prefix), f.signed))
}

// Add adds a signature, in place of an older one by the same key.
func (f *File) Add(k key.Key, signature []byte) error {
	if !k.VerifyDigest(f.Digest(), signature) {
		return fmt.Errorf("key set: signature is not over this set by key %s", k.ID)
	}
	f.Signatures = slices.DeleteFunc(f.Signatures, func(s Signature) bool { return s.KeyID == k.ID })
	f.Signatures = append(f.Signatures, Signature{k.ID, k.Algorithm, signature})
	return nil
}

// Verify checks that at least one of the keys has signed the set, and that
// every signature by one of them is right. It returns the ids of those that
// have.
func (f *File) Verify(roots []key.Key) ([]string, error) {
	var good, have, want []string
	for _, k := range roots {
		want = append(want, k.ID)
	}
	for _, s := range f.Signatures {
		i := slices.IndexFunc(roots, func(k key.Key) bool { return k.ID == s.KeyID })
		if i < 0 {
			have = append(have, fmt.Sprintf("%.20q", s.KeyID))
			continue
		}
		if s.Algorithm != roots[i].Algorithm || !roots[i].VerifyDigest(f.Digest(), s.Signature) {
			return nil, fmt.Errorf("key set: bad signature by %s: the set was changed after it was signed", s.KeyID)
		}
		good = append(good, s.KeyID)
	}
	if len(good) == 0 {
		return nil, fmt.Errorf("key set: not signed by a root key: signed by %s; accepted: %s", orNone(have), orNone(want))
	}
	return good, nil
}

// VerifySelf checks that a root key of the set itself, valid at a time, has
// signed it: that nobody changed the file by accident or without a root key.
// Whether those root keys are to be trusted it cannot tell.
func (f *File) VerifySelf(now time.Time) error {
	var roots []key.Key
	var why error
	for i := range f.Set.Keys {
		e := &f.Set.Keys[i]
		if !e.Has(Root) {
			continue
		}
		if err := e.Check(now); err != nil {
			why = err
		} else {
			roots = append(roots, e.Key())
		}
	}
	if len(roots) == 0 && why != nil {
		return fmt.Errorf("key set: no root key is valid: %w", why)
	}
	if len(roots) == 0 {
		return errors.New("key set: no root key")
	}
	_, err := f.Verify(roots)
	return err
}

// VerifySuccessor checks that next may take the place of f: it is newer, and a
// root key that f trusts has signed it.
func (f *File) VerifySuccessor(next *File, now time.Time) error {
	if next.Set.Version <= f.Set.Version {
		return fmt.Errorf("key set: version %d does not follow %d", next.Set.Version, f.Set.Version)
	}
	var roots []key.Key
	for _, e := range f.Set.Active(Root, now) {
		roots = append(roots, e.Key())
	}
	_, err := next.Verify(roots)
	return err
}

func orNone(ids []string) string {
	if len(ids) == 0 {
		return "nobody"
	}
	return strings.Join(ids, ", ")
}
