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

// decoder fills a manifest.
type decoder struct {
	m          *Manifest
	partitions int
	blockSize  uint64
	minor      uint64
	name       string
	version    string // of the partition
}

// parseManifest decodes a manifest and checks that it makes sense.
func parseManifest(b []byte) (*Manifest, error) {
	d := decoder{m: new(Manifest), blockSize: BlockSize}
	if err := fields(b, d.manifestField); err != nil {
		return nil, fmt.Errorf("payload manifest: %w", err)
	}
	if err := d.check(); err != nil {
		return nil, fmt.Errorf("payload manifest: %w", err)
	}
	if err := d.m.validate(); err != nil {
		return nil, fmt.Errorf("payload manifest: %w", err)
	}
	return d.m, nil
}

// check looks at what the manifest says that a Manifest has no place for.
func (d *decoder) check() error {
	wantMinor := minorVersionFull
	if d.m.Delta() {
		wantMinor = minorVersionDelta
	}
	switch {
	case d.blockSize != BlockSize:
		return fmt.Errorf("blocks of %d bytes, want %d", d.blockSize, BlockSize)
	case d.partitions != 1:
		return fmt.Errorf("%d partitions, want 1", d.partitions)
	case d.name != PartitionName:
		return fmt.Errorf("partition %q, want %q", d.name, PartitionName)
	case d.minor != wantMinor:
		return fmt.Errorf("minor version %d, want %d", d.minor, wantMinor)
	case d.version != d.m.Info.Version:
		return fmt.Errorf("partition of version %q in a payload of version %q", d.version, d.m.Info.Version)
	}
	return nil
}

func (d *decoder) manifestField(f field) error {
	switch f.number {
	case manifestBlockSize:
		return f.uint(&d.blockSize)
	case manifestSignOffset:
		return f.size(&d.m.SignaturesOffset)
	case manifestSignSize:
		return f.size(&d.m.SignaturesSize)
	case manifestMinorVersion:
		return f.uint(&d.minor)
	case manifestTimestamp:
		return f.size(&d.m.Timestamp)
	case manifestPartitions:
		if d.partitions++; d.partitions > 1 {
			return nil
		}
		var b []byte
		if err := f.raw(&b); err != nil {
			return err
		}
		return fields(b, d.partitionField)
	case manifestInfo:
		var b []byte
		if err := f.raw(&b); err != nil {
			return err
		}
		return fields(b, d.infoField)
	case manifestSigners:
		var id string
		if err := f.text(&id); err != nil {
			return err
		}
		if len(d.m.Signers) == maxSignatureCount {
			return fmt.Errorf("more than %d keys", maxSignatureCount)
		}
		d.m.Signers = append(d.m.Signers, id)
	}
	return nil
}

func (d *decoder) partitionField(f field) (err error) {
	switch f.number {
	case partitionName:
		return f.text(&d.name)
	case partitionVersion:
		return f.text(&d.version)
	case partitionOld:
		d.m.Old, err = f.image()
		return err
	case partitionNew:
		var i *Image
		if i, err = f.image(); err == nil {
			d.m.New = *i
		}
		return err
	case partitionOperations:
		var b []byte
		if err := f.raw(&b); err != nil {
			return err
		}
		o, err := decodeOperation(b)
		// Before the next one is read: an operation that passes has earned
		// the memory it takes by the bytes it is made of.
		if err == nil {
			err = o.check()
		}
		if err != nil {
			return fmt.Errorf("operation %d: %w", len(d.m.Operations), err)
		}
		d.m.Operations = append(d.m.Operations, o)
	case partitionTreeData, partitionTree, partitionTreeAlgorithm, partitionTreeSalt:
		return d.hashTreeField(f)
	}
	return nil
}

func (d *decoder) hashTreeField(f field) (err error) {
	if d.m.HashTree == nil {
		d.m.HashTree = new(HashTree)
	}
	t := d.m.HashTree
	switch f.number {
	case partitionTreeData:
		t.Data, err = f.extent()
	case partitionTree:
		t.Tree, err = f.extent()
	case partitionTreeAlgorithm:
		err = f.text(&t.Algorithm)
	case partitionTreeSalt:
		err = f.raw(&t.Salt)
	}
	return err
}

func (d *decoder) infoField(f field) error {
	i := &d.m.Info
	switch f.number {
	case infoName:
		return f.text(&i.Name)
	case infoVersion:
		return f.text(&i.Version)
	case infoMinimum:
		return f.text(&i.MinimumVersion)
	case infoArchitecture:
		return f.text(&i.Architecture)
	case infoChannel:
		return f.text(&i.Channel)
	case infoDevelopment:
		var v uint64
		err := f.uint(&v)
		i.Development = v != 0
		return err
	case infoRootHash:
		return f.text(&i.RootHash)
	case infoSourceVersion:
		return f.text(&i.SourceVersion)
	case infoSourceRootHash:
		return f.text(&i.SourceRootHash)
	}
	return nil
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
