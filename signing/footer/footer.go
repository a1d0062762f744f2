// Package footer reads and writes the signed footer of a slot: the last 16 KiB
// of a USR partition, which say what is in front of it (file system, dm-verity
// tree, root hash, version) and carry one or more signatures over that.
//
// A reader finds the footer from the end of the partition and trusts nothing
// in it before a signature by a key it was given has been verified.
//
// Layout, all integers little endian:
//
//	offset  size  field
//	     0     8  magic "SLIPSLOT"
//	     8     4  version, 1
//	    12     4  length of the body in bytes
//	    16     4  length of the signatures in bytes
//	    20     4  reserved, zero
//	    24     -  body, a JSON object: [Footer]
//	     -     -  signatures, a JSON array: [Signature]
//	     -     -  zeros up to 16384
//
// A signature is made, as package signing/key says, over the SHA-256 of the text
// "slipway slot footer v1\n", the first 16 header bytes (magic, version, length
// of the body) and the body. The length of the signatures is not covered, so that a signature can be added for a second
// key, or be made elsewhere, without the others becoming invalid.
//
// A field of the body that a reader does not know is passed over: an older boot
// engine must be able to start a newer slot. A change that an old reader must
// not overlook takes a new version number in the header.
//
// The package uses the standard library and signing/key only: the boot engine links it. It
// does not hold private keys and does not read the slot in front of the footer.
package footer

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
)

const (
	// Size is the number of bytes a footer takes at the end of a slot.
	Size = 16384
	// Magic is how a footer begins.
	Magic = "SLIPSLOT"
	// Version is the only layout there is.
	Version = 1
	// Format is the value of Footer.Format.
	Format = "slipway-slot-1"

	headerSize = 24
	signedSize = 16 // of the header, what signatures cover
	prefix     = "slipway slot footer v1\n"
)

// Footer says what a slot holds. Offsets and sizes are in bytes from the start
// of the slot.
type Footer struct {
	Format         string `json:"format"`          // always [Format]
	Name           string `json:"name"`            // what the image calls itself, such as "slipway"
	Version        string `json:"version"`         // MAJOR.MINOR.PATCH of the operating system
	MinimumVersion string `json:"minimum_version"` // oldest version that may be replaced by this one; empty: any
	// RollbackFloor is the oldest version that may replace this one once this
	// one has proven itself on a machine; empty: any.
	RollbackFloor string `json:"rollback_floor,omitempty"`
	Architecture  string `json:"architecture"` // Debian's word: "amd64"
	Development   bool   `json:"development"`  // signed by a development key

	FSType     string `json:"fs_type"`     // "erofs"
	FSSize     int64  `json:"fs_size"`     // the file system lies at offset 0
	HashOffset int64  `json:"hash_offset"` // dm-verity superblock
	HashSize   int64  `json:"hash_size"`   // superblock and tree
	BlockSize  int64  `json:"block_size"`  // of data and hash blocks: 4096
	Salt       string `json:"salt"`        // of dm-verity, hex, may be empty
	RootHash   string `json:"root_hash"`   // of dm-verity, 64 hex digits

	UKI    UKI    `json:"uki"`
	BootID string `json:"boot_id"` // of the kernel in UKI; see build/initramfs.BootID
}

// UKI is the unified kernel image inside the slot's file system.
type UKI struct {
	Path   string `json:"path"`   // inside the file system, no leading slash
	SHA256 string `json:"sha256"` // 64 hex digits
	Size   int64  `json:"size"`   // bytes
}

// Validate checks the footer by itself and against the size of its slot, and
// names the first field that makes no sense.
func (f *Footer) Validate(slotSize int64) error {
	end := slotSize - Size
	switch {
	case f.Format != Format:
		return fmt.Errorf("slot footer: format %q, want %q", f.Format, Format)
	case f.Version == "":
		return fmt.Errorf("slot footer: no version")
	case f.FSType != "erofs":
		return fmt.Errorf("slot footer: file system %q, want %q", f.FSType, "erofs")
	case f.BlockSize != 4096:
		return fmt.Errorf("slot footer: block size %d, want 4096", f.BlockSize)
	case f.FSSize <= 0 || f.FSSize%f.BlockSize != 0 || f.FSSize > end:
		return fmt.Errorf("slot footer: file system of %d bytes in a slot of %d", f.FSSize, slotSize)
	case f.HashOffset < f.FSSize || f.HashOffset%f.BlockSize != 0 || f.HashOffset > end:
		return fmt.Errorf("slot footer: hash tree at %d, file system ends at %d", f.HashOffset, f.FSSize)
	case f.HashSize <= 0 || f.HashSize%f.BlockSize != 0 || f.HashSize > end-f.HashOffset:
		return fmt.Errorf("slot footer: hash tree of %d bytes at %d reaches beyond %d", f.HashSize, f.HashOffset, end)
	case f.UKI.Path == "" || strings.HasPrefix(f.UKI.Path, "/") || strings.Contains(f.UKI.Path, ".."):
		return fmt.Errorf("slot footer: kernel image path %q", f.UKI.Path)
	case f.UKI.Size <= 0 || f.UKI.Size > f.FSSize:
		return fmt.Errorf("slot footer: kernel image of %d bytes", f.UKI.Size)
	}
	if salt, err := hex.DecodeString(f.Salt); err != nil || len(salt) > 256 {
		return fmt.Errorf("slot footer: salt is not at most 256 bytes of hex")
	}
	for _, h := range []struct{ field, value string }{
		{"root_hash", f.RootHash}, {"uki.sha256", f.UKI.SHA256}, {"boot_id", f.BootID},
	} {
		if b, err := hex.DecodeString(h.value); err != nil || len(b) != 32 {
			return fmt.Errorf("slot footer: %s %.80q is not a SHA-256 in hex", h.field, h.value)
		}
	}
	return nil
}

// parseBody decodes the body and checks it against the size of its slot.
func parseBody(body []byte, slotSize int64) (*Footer, error) {
	f := new(Footer)
	if err := json.Unmarshal(body, f); err != nil {
		return nil, fmt.Errorf("slot footer: malformed body: %w", err)
	}
	return f, f.Validate(slotSize)
}
