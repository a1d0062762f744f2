package inspect

import (
	"bytes"
	"errors"
	"fmt"

	"slipway/build/authenticode"
	"slipway/signing/key"
)

// BootSignature is a signature that the UKI of a slot carries for firmware.
type BootSignature struct {
	Subject   string `json:"subject"`          // of the signer's certificate
	KeyID     string `json:"key_id,omitempty"` // as package signing names keys
	Algorithm string `json:"algorithm"`        // kind and size of the key: RSA-2048
	Verdict   string `json:"verdict"`          // good, or what is wrong; says nothing about trust
}

// BootSignatures reads the UKI in the slot; none if it is not signed.
func (s *SlotInfo) BootSignatures() ([]BootSignature, error) {
	if s.Footer == nil {
		return nil, errors.New("slot: no footer")
	}
	usr, err := s.Usr()
	if err != nil {
		return nil, err
	}
	name := "/usr/" + s.Footer.UKI.Path
	data, err := content(usr.Lookup(s.Footer.UKI.Path), name, maxUKI)
	if err != nil {
		return nil, err
	}
	file, err := authenticode.Read(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	var list []BootSignature
	for i := range file.Signatures {
		b := BootSignature{Algorithm: file.Signatures[i].Key(), Verdict: "good"}
		if c := file.Signatures[i].Certificate; c != nil {
			b.Subject = c.Subject.String()
			b.KeyID, _ = key.ID(c.PublicKey)
		}
		if err := file.Signatures[i].Err; err != nil {
			b.Verdict = err.Error()
		}
		list = append(list, b)
	}
	return list, nil
}
