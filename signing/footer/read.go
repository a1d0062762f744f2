package footer

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"slipway/signing/key"
)

// maxSignatures bounds the work a forged footer can ask for.
const maxSignatures = 16

// ErrNone is wrapped when a slot holds no footer at all: it is empty, was
// written only in part, or something else lies there.
var ErrNone = errors.New("no slot footer")

// Signature is one signature of a footer.
type Signature struct {
	KeyID     string `json:"key_id"`
	Algorithm string `json:"algorithm"`
	Signature []byte `json:"signature"` // base64 in JSON
}

// UnknownKeyError says that no signature of a footer is by a key the reader
// was given.
type UnknownKeyError struct {
	Have []string // key ids of the footer's signatures
	Want []string // key ids the reader accepts
}

// Error lists the ids on both sides.
func (e *UnknownKeyError) Error() string {
	list := func(ids []string) string {
		if len(ids) == 0 {
			return "none"
		}
		return strings.Join(ids, ", ")
	}
	return fmt.Sprintf("slot footer: not signed by a known key: signed by %s; accepted: %s", list(e.Have), list(e.Want))
}

// Read verifies the footer of a slot of slotSize bytes and returns it. At least
// one signature has to be by one of keys, and every signature by one of them
// has to be right; only then is the body parsed. It reads the last 16 KiB and
// nothing else.
func Read(r io.ReaderAt, slotSize int64, keys []key.Key) (*Footer, error) {
	raw, err := readRaw(r, slotSize)
	if err != nil {
		return nil, err
	}
	if err := raw.verify(keys); err != nil {
		return nil, err
	}
	return parseBody(raw.body, slotSize)
}

// Inspect returns what a footer claims and who claims it, WITHOUT verifying any
// signature: for listings of images whose keys are not at hand.
func Inspect(r io.ReaderAt, slotSize int64) (*Footer, []Signature, error) {
	raw, err := readRaw(r, slotSize)
	if err != nil {
		return nil, nil, err
	}
	f, err := parseBody(raw.body, slotSize)
	return f, raw.signatures, err
}

// rawFooter is a footer split along its length fields.
type rawFooter struct {
	header     []byte
	body       []byte
	signatures []Signature
}

// readRaw splits the footer and decodes the signatures, but not the body.
func readRaw(r io.ReaderAt, slotSize int64) (*rawFooter, error) {
	if slotSize < Size {
		return nil, fmt.Errorf("slot of %d bytes: %w", slotSize, ErrNone)
	}
	block := make([]byte, Size)
	if n, err := r.ReadAt(block, slotSize-Size); n < len(block) {
		return nil, fmt.Errorf("slot footer: read at %d: %w", slotSize-Size, err)
	}
	if string(block[:8]) != Magic {
		return nil, fmt.Errorf("slot of %d bytes: %w", slotSize, ErrNone)
	}
	if v := binary.LittleEndian.Uint32(block[8:]); v != Version {
		return nil, fmt.Errorf("slot footer: version %d, want %d", v, Version)
	}
	bodySize := uint64(binary.LittleEndian.Uint32(block[12:]))
	signatureSize := uint64(binary.LittleEndian.Uint32(block[16:]))
	end := headerSize + bodySize + signatureSize
	if end > Size {
		return nil, fmt.Errorf("slot footer: malformed: %d bytes of body and %d of signatures do not fit", bodySize, signatureSize)
	}
	if binary.LittleEndian.Uint32(block[20:]) != 0 || !bytes.Equal(block[end:], make([]byte, Size-end)) {
		return nil, errors.New("slot footer: malformed: reserved bytes are not zero")
	}
	raw := &rawFooter{header: block[:headerSize], body: block[headerSize : headerSize+bodySize]}
	if err := json.Unmarshal(block[headerSize+bodySize:end], &raw.signatures); err != nil {
		return nil, fmt.Errorf("slot footer: malformed signatures: %w", err)
	}
	if len(raw.signatures) > maxSignatures {
		return nil, fmt.Errorf("slot footer: malformed: %d signatures, want at most %d", len(raw.signatures), maxSignatures)
	}
	return raw, nil
}

func (f *rawFooter) verify(keys []key.Key) error {
	sum := digest(f.header, f.body)
	unknown := &UnknownKeyError{}
	for _, k := range keys {
		unknown.Want = append(unknown.Want, k.ID)
	}
	good := 0
	for _, s := range f.signatures {
		i := slices.IndexFunc(keys, func(k key.Key) bool { return k.ID == s.KeyID })
		switch {
		case i < 0:
			unknown.Have = append(unknown.Have, cleanID(s.KeyID))
		case s.Algorithm != keys[i].Algorithm:
			return fmt.Errorf("slot footer: signature by %s is %.40q, the key is for %q", s.KeyID, s.Algorithm, keys[i].Algorithm)
		case !keys[i].VerifyDigest(sum, s.Signature):
			return fmt.Errorf("slot footer: bad signature by %s: the footer was changed after it was signed", s.KeyID)
		default:
			good++
		}
	}
	if good == 0 {
		return unknown
	}
	return nil
}

// cleanID makes an id out of a footer nobody vouches for safe to print.
func cleanID(id string) string {
	if len(id) != 16 || strings.Trim(id, "0123456789abcdef") != "" {
		return fmt.Sprintf("%.20q", id)
	}
	return id
}

// digest is what signatures are made over.
func digest(header, body []byte) [32]byte {
	return sha256.Sum256(slices.Concat([]byte(prefix), header[:signedSize], body))
}
