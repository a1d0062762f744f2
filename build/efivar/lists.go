package efivar

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"fmt"

	"github.com/google/uuid"
)

// Kinds of lists.
const (
	KindX509   = "a5c059a1-94e4-4aa7-87b5-ab155c2bf072" // EFI_CERT_X509_GUID
	KindSHA256 = "c1c41626-504c-4092-aca9-41f936934328" // EFI_CERT_SHA256_GUID
)

const (
	listHeader = 16 + 3*4 // of an EFI_SIGNATURE_LIST
	ownerSize  = 16
	// maxEntries bounds what ParseLists returns.
	maxEntries = 4096
)

// Entry is a certificate in DER form or the Authenticode SHA-256 of a file,
// and who put it there.
type Entry struct {
	Kind  uuid.UUID
	Owner uuid.UUID
	Data  []byte
}

// Certificates makes signature lists with certificates, one list each, as an
// EFI signature list file (*.esl) has them.
func Certificates(owner uuid.UUID, certificates ...*x509.Certificate) []byte {
	var b []byte
	for _, c := range certificates {
		b = appendList(b, KindX509, owner, c.Raw)
	}
	return b
}

// Hashes makes a signature list of the digests of files.
func Hashes(owner uuid.UUID, digests ...[sha256.Size]byte) []byte {
	entries := make([][]byte, len(digests))
	for i := range digests {
		entries[i] = digests[i][:]
	}
	return appendList(nil, KindSHA256, owner, entries...)
}

// appendList appends an EFI_SIGNATURE_LIST. Its entries are of one size.
func appendList(b []byte, kind string, owner uuid.UUID, entries ...[]byte) []byte {
	if len(entries) == 0 {
		return b
	}
	size := ownerSize + len(entries[0])
	k, o := guidBytes(uuid.MustParse(kind)), guidBytes(owner)
	b = append(b, k[:]...)
	b = binary.LittleEndian.AppendUint32(b, uint32(listHeader+size*len(entries)))
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(size))
	for _, e := range entries {
		b = append(append(b, o[:]...), e...)
	}
	return b
}

// ParseLists reads signature lists that fill data, at most 4096 entries.
func ParseLists(data []byte) ([]Entry, error) {
	var entries []Entry
	for at := 0; at < len(data); {
		rest := data[at:]
		if len(rest) < listHeader {
			return nil, fmt.Errorf("signature list: %d bytes are left, a header has %d", len(rest), listHeader)
		}
		size := int64(binary.LittleEndian.Uint32(rest[16:]))
		header := int64(binary.LittleEndian.Uint32(rest[20:]))
		each := int64(binary.LittleEndian.Uint32(rest[24:]))
		body := size - listHeader - header
		if size > int64(len(rest)) || body < 0 || each <= ownerSize || body%each != 0 {
			return nil, fmt.Errorf("signature list: %d bytes with a header of %d and entries of %d, %d bytes are left",
				size, header, each, len(rest))
		}
		for e := listHeader + header; e < size; e += each {
			if len(entries) == maxEntries {
				return nil, fmt.Errorf("signature list: more than %d entries", maxEntries)
			}
			entries = append(entries, Entry{
				Kind: parseGUID(rest), Owner: parseGUID(rest[e:]), Data: rest[e+ownerSize : e+each],
			})
		}
		at += int(size)
	}
	return entries, nil
}
