package footer

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Signer makes signatures by one private key. KeyID and Algorithm are those of
// the public key, see package signing/key.
type Signer interface {
	KeyID() string
	Algorithm() string
	SignDigest(ctx context.Context, digest [32]byte) ([]byte, error)
}

// Encode returns the 16384 bytes of the footer of a slot of slotSize bytes,
// signed by every signer in the order given. All signers are asked before it
// fails with the errors of those that did not sign, so that one that hands the
// digest to somebody else has done so.
func Encode(ctx context.Context, slotSize int64, f *Footer, signers ...Signer) ([]byte, error) {
	if err := f.Validate(slotSize); err != nil {
		return nil, err
	}
	body, err := json.Marshal(f)
	if err != nil {
		return nil, fmt.Errorf("slot footer: encode: %w", err)
	}
	block := make([]byte, headerSize, Size)
	copy(block, Magic)
	binary.LittleEndian.PutUint32(block[8:], Version)
	binary.LittleEndian.PutUint32(block[12:], uint32(len(body)))
	signatures, err := sign(ctx, digest(block, body), signers)
	if err != nil {
		return nil, err
	}
	return assemble(&rawFooter{header: block, body: body, signatures: signatures})
}

// sign asks every signer.
func sign(ctx context.Context, digest [32]byte, signers []Signer) ([]Signature, error) {
	if len(signers) == 0 || len(signers) > maxSignatures {
		return nil, fmt.Errorf("slot footer: %d signers, want 1 to %d", len(signers), maxSignatures)
	}
	signatures := make([]Signature, len(signers))
	var errs []error
	for i, s := range signers {
		signature, err := s.SignDigest(ctx, digest)
		if err != nil {
			errs = append(errs, fmt.Errorf("slot footer: sign with key %s: %w", s.KeyID(), err))
		}
		signatures[i] = Signature{KeyID: s.KeyID(), Algorithm: s.Algorithm(), Signature: signature}
	}
	return signatures, errors.Join(errs...)
}

// assemble makes the block of a footer whose signatures are made.
func assemble(raw *rawFooter) ([]byte, error) {
	tail, err := json.Marshal(raw.signatures)
	if err != nil {
		return nil, fmt.Errorf("slot footer: encode signatures: %w", err)
	}
	block := slices.Concat(raw.header, raw.body, tail)
	if len(block) > Size {
		return nil, fmt.Errorf("slot footer: %d bytes with %d signatures, want at most %d",
			len(block), len(raw.signatures), Size)
	}
	binary.LittleEndian.PutUint32(block[16:], uint32(len(tail)))
	return append(block, make([]byte, Size-len(block))...), nil
}

// Write puts the signed footer at the end of a slot of slotSize bytes. It
// writes the last 16 KiB and nothing else.
func Write(ctx context.Context, w io.WriterAt, slotSize int64, f *Footer, signers ...Signer) error {
	if slotSize < Size {
		return errors.New("slot footer: slot is smaller than a footer")
	}
	block, err := Encode(ctx, slotSize, f, signers...)
	if err != nil {
		return err
	}
	if _, err := w.WriteAt(block, slotSize-Size); err != nil {
		return fmt.Errorf("slot footer: write at %d: %w", slotSize-Size, err)
	}
	return nil
}

// Countersign returns the footer of a slot with signatures by more keys, in
// place of older ones by the same keys. What is signed stays as it is, and so
// do the signatures by others. It verifies none of those: the caller knows why
// it trusts the slot.
func Countersign(ctx context.Context, r io.ReaderAt, slotSize int64, signers ...Signer) ([]byte, error) {
	raw, err := readRaw(r, slotSize)
	if err != nil {
		return nil, err
	}
	if _, err := parseBody(raw.body, slotSize); err != nil {
		return nil, err
	}
	added, err := sign(ctx, digest(raw.header, raw.body), signers)
	if err != nil {
		return nil, err
	}
	kept := slices.DeleteFunc(raw.signatures, func(old Signature) bool {
		return slices.ContainsFunc(added, func(s Signature) bool { return s.KeyID == old.KeyID })
	})
	raw.signatures = append(kept, added...)
	if len(raw.signatures) > maxSignatures {
		return nil, fmt.Errorf("slot footer: %d signatures, want at most %d", len(raw.signatures), maxSignatures)
	}
	return assemble(raw)
}
