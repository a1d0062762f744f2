package efivar

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf16"

	"github.com/google/uuid"
)

// The variable store of EDK II, as OVMF_VARS.fd has it: a firmware volume
// header, a store header, and records that are only ever appended.
const (
	guidVolume = "fff12b8d-7696-4c8b-a985-2747075b4f50" // gEfiSystemNvDataFvGuid
	guidStore  = "aaf32c78-947b-439a-a180-2e144ec37792" // gEfiAuthenticatedVariableGuid

	volumeHeader  = 72
	storeHeader   = 28
	storeFormat   = 0x5a
	storeHealthy  = 0xfe
	recordHeader  = 60 // AUTHENTICATED_VARIABLE_HEADER
	recordStart   = 0x55aa
	recordAdded   = 0x3f // its bits are cleared as a record goes through its life
	recordLeaving = 0x3e // about to be replaced, and still what holds
	recordAlign   = 4

	maxStore = 4 << 20
)

// Store is a variable store.
type Store struct {
	image []byte
	start int // of the records
	end   int // of the place for them
}

// OpenStore reads the headers of a variable store of at most 4 MiB. It keeps
// image and changes it in Add.
func OpenStore(image []byte) (*Store, error) {
	if len(image) < volumeHeader+storeHeader || len(image) > maxStore {
		return nil, fmt.Errorf("variable store: %d bytes, want %d to %d",
			len(image), volumeHeader+storeHeader, maxStore)
	}
	header := int(binary.LittleEndian.Uint16(image[48:]))
	if parseGUID(image[16:]).String() != guidVolume || string(image[40:44]) != "_FVH" {
		return nil, errors.New("variable store: not a firmware volume of variables")
	}
	if header < volumeHeader || header > len(image)-storeHeader {
		return nil, fmt.Errorf("variable store: volume header of %d bytes in %d", header, len(image))
	}
	raw := image[header:]
	if kind := parseGUID(raw).String(); kind != guidStore {
		return nil, fmt.Errorf("variable store: kind is %s, want %s (authenticated)", kind, guidStore)
	}
	size := int64(binary.LittleEndian.Uint32(raw[16:]))
	if size < storeHeader || size > int64(len(raw)) || raw[20] != storeFormat || raw[21] != storeHealthy {
		return nil, fmt.Errorf("variable store: %d bytes of %d, format %#x, state %#x, want %#x and %#x",
			size, len(raw), raw[20], raw[21], storeFormat, storeHealthy)
	}
	return &Store{image: image, start: header + storeHeader, end: header + int(size)}, nil
}

// Bytes is the image of the store.
func (s *Store) Bytes() []byte { return s.image }

// Variables are those that hold, in the order of the store.
func (s *Store) Variables() ([]Variable, error) {
	var list []Variable
	_, err := s.walk(func(state byte, v Variable) {
		if state == recordAdded || state == recordLeaving {
			list = append(list, v)
		}
	})
	return list, err
}

// Add appends variables. One that is there already is an error.
func (s *Store) Add(variables ...Variable) error {
	for _, v := range variables {
		there := false
		end, err := s.walk(func(state byte, old Variable) {
			there = there || (state == recordAdded || state == recordLeaving) &&
				old.Name == v.Name && old.Vendor == v.Vendor
		})
		if err != nil {
			return err
		}
		if there {
			return fmt.Errorf("variable store: variable %q is there already", v.Name)
		}
		record, err := v.record()
		if err != nil {
			return err
		}
		if len(record) > s.end-end {
			return fmt.Errorf("variable store: variable %q needs %d bytes, %d are free", v.Name, len(record), s.end-end)
		}
		if len(bytes.Trim(s.image[end:end+len(record)], "\xff")) > 0 {
			return errors.New("variable store: what is behind the last variable is not erased")
		}
		copy(s.image[end:], record)
	}
	return nil
}

// record is an AUTHENTICATED_VARIABLE_HEADER with name and data.
func (v *Variable) record() ([]byte, error) {
	name := append(utf16Bytes(v.Name), 0, 0)
	b := binary.LittleEndian.AppendUint16(nil, recordStart)
	b = append(b, recordAdded, 0)
	b = binary.LittleEndian.AppendUint32(b, v.Attributes)
	b = binary.LittleEndian.AppendUint64(b, 0) // a counter of old
	stamp := make([]byte, 16)
	if v.Attributes&Authenticated != 0 {
		var err error
		if stamp, err = efiTime(v.Time); err != nil {
			return nil, fmt.Errorf("variable %q: %w", v.Name, err)
		}
	}
	b = append(b, stamp...)
	b = binary.LittleEndian.AppendUint32(b, 0) // a key of old
	b = binary.LittleEndian.AppendUint32(b, uint32(len(name)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(v.Data)))
	vendor := guidBytes(v.Vendor)
	b = append(append(append(b, vendor[:]...), name...), v.Data...)
	for len(b)%recordAlign != 0 {
		b = append(b, 0xff)
	}
	return b, nil
}

// walk shows every record and returns where the next one goes. Records are
// aligned from the start of the image.
func (s *Store) walk(visit func(state byte, v Variable)) (int, error) {
	at := s.start
	for {
		at = (at + recordAlign - 1) &^ (recordAlign - 1)
		if at+recordHeader > s.end || binary.LittleEndian.Uint16(s.image[at:]) != recordStart {
			return min(at, s.end), nil
		}
		raw := s.image[at:s.end]
		nameSize := int64(binary.LittleEndian.Uint32(raw[36:]))
		dataSize := int64(binary.LittleEndian.Uint32(raw[40:]))
		size := recordHeader + nameSize + dataSize
		if nameSize%2 != 0 || size > int64(len(raw)) {
			return 0, fmt.Errorf("variable store: record at byte %d has a name of %d and data of %d bytes, %d are left",
				at, nameSize, dataSize, len(raw))
		}
		visit(raw[2], Variable{
			Name:       parseName(raw[recordHeader : recordHeader+nameSize]),
			Vendor:     uuid.UUID(parseGUID(raw[44:])),
			Attributes: binary.LittleEndian.Uint32(raw[4:]),
			Time:       parseTime(raw[16:]),
			Data:       raw[recordHeader+nameSize : size],
		})
		at += int(size)
	}
}

// parseName is the text before the NUL.
func parseName(b []byte) string {
	units := make([]uint16, 0, len(b)/2)
	for i := 0; i+1 < len(b); i += 2 {
		unit := binary.LittleEndian.Uint16(b[i:])
		if unit == 0 {
			break
		}
		units = append(units, unit)
	}
	return string(utf16.Decode(units))
}
