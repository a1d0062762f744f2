// Package efivar makes and reads what UEFI's Secure Boot variables hold: lists
// of certificates (PK, KEK, db, dbx), the signed updates by which a running
// machine accepts them, and the variable store of EDK II, in which a virtual
// machine has them from its first start.
//
// Formats are those of the UEFI specification 2.10, chapters "Services -
// Runtime Services" and "Secure Boot and Driver Signing", and of EDK II's
// MdeModulePkg/Include/Guid/VariableFormat.h.
//
// The package does not touch the variables of the machine it runs on.
package efivar

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"
	"unicode/utf16"

	"github.com/google/uuid"

	"slipway/build/authenticode"
)

// Attributes of a variable.
const (
	NonVolatile    = 0x01
	BootService    = 0x02
	Runtime        = 0x04
	Authenticated  = 0x20 // by signature and time
	Append         = 0x40 // an update that adds to what is there
	secureBootKind = NonVolatile | BootService | Runtime | Authenticated
)

// Vendor GUIDs.
const (
	Global   = "8be4df61-93ca-11d2-aa0d-00e098032b8c" // of PK and KEK, and of BootOrder and its like
	Security = "d719b2cb-3d3a-4596-a3bc-dad00e67656f" // of db and dbx
)

const (
	certPKCS7     = "4aafd29d-68df-49ee-8aa9-347d375665a7" // EFI_CERT_TYPE_PKCS7_GUID
	winCertHeader = 8 + 16
	revision      = 0x0200
	typeGUID      = 0x0ef1 // WIN_CERT_TYPE_EFI_GUID
)

// Variable is a UEFI variable.
type Variable struct {
	Name       string
	Vendor     uuid.UUID
	Attributes uint32
	// Time is when an authenticated variable was made, to the second. An
	// update must be younger than what it replaces.
	Time time.Time
	Data []byte
}

// SecureBoot is one of the variables PK, KEK, db and dbx that holds lists.
func SecureBoot(name string, lists []byte, made time.Time) (*Variable, error) {
	v := &Variable{Name: name, Attributes: secureBootKind, Time: made, Data: lists}
	switch name {
	case "PK", "KEK":
		v.Vendor = uuid.MustParse(Global)
	case "db", "dbx":
		v.Vendor = uuid.MustParse(Security)
	default:
		return nil, fmt.Errorf("variable %q: Secure Boot knows PK, KEK, db and dbx", name)
	}
	return v, nil
}

// SignUpdate makes what firmware accepts as the variable's new content: an
// EFI_VARIABLE_AUTHENTICATION_2 in front of the data, as in files called
// *.auth. PK and KEK are signed by the platform key, db and dbx by a key of
// KEK. The same content is written to efivarfs after the four bytes of
// attributes, which are signed, too.
func (v *Variable) SignUpdate(ctx context.Context, id *authenticode.Identity) ([]byte, error) {
	stamp, err := efiTime(v.Time)
	if err != nil {
		return nil, fmt.Errorf("variable %q: %w", v.Name, err)
	}
	h := sha256.New()
	h.Write(utf16Bytes(v.Name))
	guid := guidBytes(v.Vendor)
	h.Write(guid[:])
	h.Write(binary.LittleEndian.AppendUint32(nil, v.Attributes))
	h.Write(stamp)
	h.Write(v.Data)
	signature, err := authenticode.SignDetached(ctx, id, [sha256.Size]byte(h.Sum(nil)))
	if err != nil {
		return nil, fmt.Errorf("variable %q: %w", v.Name, err)
	}
	out := stamp
	out = binary.LittleEndian.AppendUint32(out, uint32(winCertHeader+len(signature)))
	out = binary.LittleEndian.AppendUint16(out, revision)
	out = binary.LittleEndian.AppendUint16(out, typeGUID)
	kind := guidBytes(uuid.MustParse(certPKCS7))
	out = append(append(out, kind[:]...), signature...)
	return append(out, v.Data...), nil
}

// efiTime is an EFI_TIME in UTC without parts of a second.
func efiTime(t time.Time) ([]byte, error) {
	t = t.UTC()
	if y := t.Year(); y < 1900 || y > 9999 {
		return nil, fmt.Errorf("year %d is not between 1900 and 9999", y)
	}
	b := binary.LittleEndian.AppendUint16(nil, uint16(t.Year()))
	b = append(b, byte(t.Month()), byte(t.Day()), byte(t.Hour()), byte(t.Minute()), byte(t.Second()))
	return append(b, make([]byte, 9)...), nil
}

func parseTime(b []byte) time.Time {
	year := int(binary.LittleEndian.Uint16(b))
	if year == 0 {
		return time.Time{}
	}
	return time.Date(year, time.Month(b[2]), int(b[3]), int(b[4]), int(b[5]), int(b[6]), 0, time.UTC)
}

// utf16Bytes is text as UEFI has it, without a NUL.
func utf16Bytes(s string) []byte {
	var b []byte
	for _, unit := range utf16.Encode([]rune(s)) {
		b = binary.LittleEndian.AppendUint16(b, unit)
	}
	return b
}

// guidBytes is a GUID as UEFI stores it: three little-endian numbers, then
// bytes.
func guidBytes(id uuid.UUID) [16]byte {
	b := [16]byte(id)
	b[0], b[1], b[2], b[3] = b[3], b[2], b[1], b[0]
	b[4], b[5] = b[5], b[4]
	b[6], b[7] = b[7], b[6]
	return b
}

func parseGUID(b []byte) uuid.UUID { return uuid.UUID(guidBytes(uuid.UUID(b[:16]))) }
