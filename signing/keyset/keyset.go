// Package keyset reads and writes sets of public keys: which key may vouch for
// what, from when to when, and which are on their way out. A set is signed by
// its root keys. It travels inside the verified image, at Path, and so tells a
// machine whose payloads to take; the key that vouches for the next set is in
// the one before.
//
// A file is a JSON object with two members, the set and the signatures over it:
//
//	{"set": {"format": 1, "version": 3, "keys": [...]},
//	 "signatures": [{"key_id": "...", "algorithm": "...", "signature": "base64"}]}
//
// A signature is made, as package signing/key says, over the SHA-256 of the text
// "slipway key set v1\n" and the set with the white space between its tokens
// left out. Fields a reader does not know are passed over; a change it must not
// overlook takes another format number.
//
// The package uses the standard library and signing/key only: on-host programs
// link it. It holds no private keys and reads no clock.
package keyset

import (
	"fmt"
	"slices"
	"time"

	"slipway/signing/key"
)

const (
	// Path is where an image keeps its set, below /usr.
	Path = "share/slipway/keys.json"
	// FileName is what a set is called in a directory of keys.
	FileName = "keys.json"

	format        = 1
	prefix        = "slipway key set v1\n"
	maxFile       = 256 << 10 // bytes
	maxKeys       = 64
	maxSignatures = 16
)

// Role is what a key may vouch for.
type Role string

// The roles there are.
const (
	Root    Role = "root"    // key sets
	Image   Role = "image"   // slots: the boot engine starts what such a key signed
	Payload Role = "payload" // payloads and release.json: what machines fetch
)

// Roles lists the roles.
func Roles() []Role { return []Role{Root, Image, Payload} }

// Entry is one key of a set.
type Entry struct {
	ID        string     `json:"id"`         // see key.ID
	Algorithm string     `json:"algorithm"`  // see package signing/key
	Public    string     `json:"public_key"` // PEM
	Roles     []Role     `json:"roles"`
	NotBefore *time.Time `json:"not_before,omitempty"` // signs from then on; nil: always
	NotAfter  *time.Time `json:"not_after,omitempty"`  // until then; nil: for ever
	// Development marks a key that signs nothing that is released.
	Development bool `json:"development,omitempty"`
	// ReplacedBy names the key that takes over. Until this one is retired,
	// both sign.
	ReplacedBy string `json:"replaced_by,omitempty"`
	// Retired keys sign nothing any more and are trusted with nothing.
	Retired bool `json:"retired,omitempty"`
}

// Has says whether the key has a role.
func (e *Entry) Has(r Role) bool { return slices.Contains(e.Roles, r) }

// Key is the public key. Read has checked that there is one.
func (e *Entry) Key() key.Key {
	k, _ := key.Parse([]byte(e.Public))
	return k
}

// Check says why a key must not be used at a time: it is retired, expired or
// not valid yet.
func (e *Entry) Check(now time.Time) error {
	switch {
	case e.Retired:
		return fmt.Errorf("key %s: retired", e.ID)
	case e.NotBefore != nil && now.Before(*e.NotBefore):
		return fmt.Errorf("key %s: not valid before %s", e.ID, e.NotBefore.UTC().Format(time.RFC3339))
	case e.NotAfter != nil && !now.Before(*e.NotAfter):
		return fmt.Errorf("key %s: expired at %s", e.ID, e.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// NewEntry describes a public key. Times are kept to the second.
func NewEntry(k key.Key, roles ...Role) Entry {
	return Entry{ID: k.ID, Algorithm: k.Algorithm, Public: string(k.PEM()), Roles: roles}
}

// Set is a set of keys.
type Set struct {
	Format  int     `json:"format"`  // 1
	Version int     `json:"version"` // one more with each change
	Keys    []Entry `json:"keys"`
}

// New makes a set without keys.
func New() *Set { return &Set{Format: format} }

// Lookup finds a key by its id, nil if it is not in the set.
func (s *Set) Lookup(id string) *Entry {
	for i := range s.Keys {
		if s.Keys[i].ID == id {
			return &s.Keys[i]
		}
	}
	return nil
}

// Active lists the keys that sign in a role at a time: neither retired nor
// expired nor yet to become valid.
func (s *Set) Active(r Role, now time.Time) []*Entry {
	var list []*Entry
	for i := range s.Keys {
		if e := &s.Keys[i]; e.Has(r) && e.Check(now) == nil {
			list = append(list, e)
		}
	}
	return list
}

// Trusted lists the keys an image of that date trusts in a role: those that are
// neither retired nor expired. A key that becomes valid later is among them, so
// that it is there when it signs first.
func (s *Set) Trusted(r Role, date time.Time) []key.Key {
	var list []key.Key
	for i := range s.Keys {
		e := &s.Keys[i]
		if e.Has(r) && !e.Retired && (e.NotAfter == nil || date.Before(*e.NotAfter)) {
			list = append(list, e.Key())
		}
	}
	return list
}

// Validate checks the set by itself and names the first thing wrong with it.
func (s *Set) Validate() error {
	if s.Format != format {
		return fmt.Errorf("key set: format %d, want %d", s.Format, format)
	}
	if len(s.Keys) > maxKeys {
		return fmt.Errorf("key set: %d keys, want at most %d", len(s.Keys), maxKeys)
	}
	for i := range s.Keys {
		e := &s.Keys[i]
		k, err := key.Parse([]byte(e.Public))
		switch {
		case err != nil:
			return fmt.Errorf("key set: key %.20q: %w", e.ID, err)
		case k.ID != e.ID:
			return fmt.Errorf("key set: key %.20q: its public key is %s", e.ID, k.ID)
		case k.Algorithm != e.Algorithm:
			return fmt.Errorf("key set: key %s: algorithm %.40q, the key is for %q", e.ID, e.Algorithm, k.Algorithm)
		case s.Lookup(e.ID) != e:
			return fmt.Errorf("key set: key %s: listed twice", e.ID)
		case len(e.Roles) == 0:
			return fmt.Errorf("key set: key %s: no role", e.ID)
		case e.NotBefore != nil && e.NotAfter != nil && !e.NotBefore.Before(*e.NotAfter):
			return fmt.Errorf("key set: key %s: expires before it becomes valid", e.ID)
		}
	}
	return nil
}
