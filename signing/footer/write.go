package footer

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Signer makes signatures by one private key. Algorithm is one of the constants
// of this package; Sign gets the whole message, not a digest.
type Signer interface {
	KeyID() string
	Algorithm() string
	Sign(message []byte) ([]byte, error)
}

// Encode returns the 16384 bytes of the footer of a slot of slotSize bytes,
// signed by every signer in the order given.
func Encode(slotSize int64, f *Footer, signers ...Signer) ([]byte, error) {
	if err := f.Validate(slotSize); err != nil {
		return nil, err
	}
	if len(signers) == 0 || len(signers) > maxSignatures {
		return nil, fmt.Errorf("slot footer: %d signers, want 1 to %d", len(signers), maxSignatures)
	}
	body, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("slot footer: encode: %w", err)
	}
	block := make([]byte, headerSize, Size)
	copy(block, Magic)
	binary.LittleEndian.PutUint32(block[8:], Version)
	binary.LittleEndian.PutUint32(block[12:], uint32(len(body)))

	message := signedMessage(block, body)
	signatures := make([]Signature, len(signers))
	for i, s := range signers {
		signature, err := s.Sign(message)
		if err != nil {
			return nil, fmt.Errorf("slot footer: sign with key %s: %w", s.KeyID(), err)
		}
		signatures[i] = Signature{KeyID: s.KeyID(), Algorithm: s.Algorithm(), Signature: signature}
	}
	tail, err := json.Marshal(signatures)
	if err != nil {
		return nil, fmt.Errorf("slot footer: encode signatures: %w", err)
	}
	binary.LittleEndian.PutUint32(block[16:], uint32(len(tail)))
	block = append(append(block, body...), tail...)
	if len(block) > Size {
		return nil, fmt.Errorf("slot footer: %d bytes with %d signatures, want at most %d", len(block), len(signers), Size)
	}
	return append(block, make([]byte, Size-len(block))...), nil
}

// Write puts the signed footer at the end of a slot of slotSize bytes. It
// writes the last 16 KiB and nothing else.
func Write(w io.WriterAt, slotSize int64, f *Footer, signers ...Signer) error {
	if slotSize < Size {
		return errors.New("slot footer: slot is smaller than a footer")
	}
	block, err := Encode(slotSize, f, signers...)
	if err != nil {
		return err
	}
	if _, err := w.WriteAt(block, slotSize-Size); err != nil {
		return fmt.Errorf("slot footer: write at %d: %w", slotSize-Size, err)
	}
	return nil
}
