package payload

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

var errWire = errors.New("malformed protobuf")

// field is one field of a message: a number, or bytes inside the message.
type field struct {
	number protowire.Number
	kind   protowire.Type
	value  uint64 // of a varint or fixed32
	bytes  []byte
}

// fields calls yield for every field of a message in order. Groups, which no
// message here has, are refused: they nest without bound.
func fields(message []byte, yield func(field) error) error {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return errWire
		}
		message = message[n:]
		f := field{number: number, kind: kind}
		switch kind {
		case protowire.VarintType:
			f.value, n = protowire.ConsumeVarint(message)
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(message)
		case protowire.Fixed32Type:
			var v uint32
			v, n = protowire.ConsumeFixed32(message)
			f.value = uint64(v)
		case protowire.Fixed64Type:
			f.value, n = protowire.ConsumeFixed64(message)
		default:
			return errWire
		}
		if n < 0 {
			return errWire
		}
		message = message[n:]
		if err := yield(f); err != nil {
			return err
		}
	}
	return nil
}

// uint, like the methods after it, gives the value of the field to its place; a
// field of another wire type is an error.
func (f field) uint(to *uint64) error {
	if f.kind != protowire.VarintType {
		return errWire
	}
	*to = f.value
	return nil
}

// size reads a number of bytes, which must fit an int64.
func (f field) size(to *int64) error {
	if f.kind != protowire.VarintType || f.value > math.MaxInt64 {
		return errWire
	}
	*to = int64(f.value)
	return nil
}

func (f field) raw(to *[]byte) error {
	if f.kind != protowire.BytesType {
		return errWire
	}
	*to = f.bytes
	return nil
}

func (f field) text(to *string) error {
	if f.kind != protowire.BytesType || len(f.bytes) > maxText || !utf8.Valid(f.bytes) {
		return errWire
	}
	*to = string(f.bytes)
	return nil
}

func (f field) digest(to *[32]byte) error {
	if f.kind != protowire.BytesType || len(f.bytes) != len(to) {
		return fmt.Errorf("digest of %d bytes, want %d", len(f.bytes), len(to))
	}
	copy(to[:], f.bytes)
	return nil
}

// maxText bounds every text of a manifest, in bytes.
const maxText = 4096

func (f field) extent() (e Extent, err error) {
	var b []byte
	if err := f.raw(&b); err != nil {
		return e, err
	}
	err = fields(b, func(f field) error {
		switch f.number {
		case extentStart:
			return f.uint(&e.Start)
		case extentBlocks:
			return f.uint(&e.Blocks)
		}
		return nil
	})
	return e, err
}

func (f field) image() (*Image, error) {
	var b []byte
	if err := f.raw(&b); err != nil {
		return nil, err
	}
	i := new(Image)
	err := fields(b, func(f field) error {
		switch f.number {
		case imageSize:
			return f.size(&i.Size)
		case imageHash:
			return f.digest(&i.SHA256)
		}
		return nil
	})
	return i, err
}

func decodeOperation(b []byte) (o Operation, err error) {
	o.Type = -1
	err = fields(b, func(f field) error {
		switch f.number {
		case operationType:
			if f.kind != protowire.VarintType || f.value > math.MaxInt32 {
				return errWire
			}
			o.Type = Type(f.value)
		case operationDataOffset:
			return f.size(&o.DataOffset)
		case operationDataLength:
			return f.size(&o.DataSize)
		case operationSrc, operationDst:
			e, err := f.extent()
			if err != nil {
				return err
			}
			if f.number == operationSrc {
				o.Src = append(o.Src, e)
			} else {
				o.Dst = append(o.Dst, e)
			}
		case operationDataHash:
			return f.digest(&o.DataSHA256)
		case operationSrcHash:
			return f.digest(&o.SrcSHA256)
		}
		return nil
	})
	return o, err
}

// parseHeader gives the lengths of manifest and metadata signatures, which
// nothing vouches for yet but the limits.
func parseHeader(b []byte) (manifestSize, signaturesSize int, err error) {
	if string(b[:4]) != Magic {
		return 0, 0, fmt.Errorf("payload: magic is %q, should be %q", b[:4], Magic)
	}
	if v := binary.BigEndian.Uint64(b[4:]); v != MajorVersion {
		return 0, 0, fmt.Errorf("payload: major version %d, want %d", v, MajorVersion)
	}
	m, s := binary.BigEndian.Uint64(b[12:]), binary.BigEndian.Uint32(b[20:])
	switch {
	case m == 0 || m > MaxManifest:
		return 0, 0, fmt.Errorf("payload: manifest of %d bytes, want 1 to %d", m, MaxManifest)
	case s == 0:
		return 0, 0, errors.New("payload: not signed")
	case s > MaxSignatures:
		return 0, 0, fmt.Errorf("payload: metadata signatures of %d bytes, want at most %d", s, MaxSignatures)
	}
	return int(m), int(s), nil
}
