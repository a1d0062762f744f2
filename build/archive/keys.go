package archive

import (
	"bytes"
	"fmt"
	"io"
	"slices"

	"github.com/ProtonMail/go-crypto/openpgp"
)

// Keys are OpenPGP public keys whose signature on an InRelease is acceptable.
// The zero value holds none.
type Keys struct {
	entities openpgp.EntityList
}

const armorStart = "-----BEGIN PGP PUBLIC KEY BLOCK-----"

// Read adds the keys of one file: armored, several blocks one after another,
// or binary as in /usr/share/keyrings. The name is for errors.
func (k *Keys) Read(name string, r io.Reader) error {
	data, err := io.ReadAll(io.LimitReader(r, 4<<20))
	if err != nil {
		return fmt.Errorf("keys %s: %w", name, err)
	}
	var found openpgp.EntityList
	if bytes.Contains(data, []byte(armorStart)) {
		for _, block := range bytes.Split(data, []byte(armorStart))[1:] {
			block = append([]byte(armorStart), block...)
			some, err := openpgp.ReadArmoredKeyRing(bytes.NewReader(block))
			if err != nil {
				return fmt.Errorf("keys %s: %w", name, err)
			}
			found = append(found, some...)
		}
	} else if found, err = openpgp.ReadKeyRing(bytes.NewReader(data)); err != nil {
		return fmt.Errorf("keys %s: %w", name, err)
	}
	// Without a valid self signature nothing says what a key may do.
	found = slices.DeleteFunc(found, func(e *openpgp.Entity) bool {
		self, _ := e.PrimarySelfSignature()
		return self == nil
	})
	if len(found) == 0 {
		return fmt.Errorf("keys %s: no public key in it", name)
	}
	k.entities = append(k.entities, found...)
	return nil
}

// Fingerprints lists the primary keys, upper case hex.
func (k *Keys) Fingerprints() []string {
	var all []string
	for _, e := range k.entities {
		all = append(all, fingerprint(e))
	}
	return all
}

func fingerprint(e *openpgp.Entity) string {
	return fmt.Sprintf("%X", e.PrimaryKey.Fingerprint)
}
