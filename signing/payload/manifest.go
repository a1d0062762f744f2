package payload

import "fmt"

// Type says what an operation does.
type Type int32

// The operations that payloads here are made of. All but Patch are AOSP's.
const (
	// Replace writes the data to Dst.
	Replace Type = 0
	// SourceCopy writes the blocks Src of the source to Dst.
	SourceCopy Type = 4
	// Zero writes zeros to Dst.
	Zero Type = 6
	// ReplaceZstd writes the data, one Zstandard frame, unpacked to Dst.
	ReplaceZstd Type = 14
	// Patch writes to Dst what a patch makes out of the blocks Src of the
	// source, taken as one run of bytes; the data is the patch, in the format
	// of package signing/payload/patch. The number is private.
	Patch Type = 1000
)

// String is the name of the type as AOSP spells it.
func (t Type) String() string {
	switch t {
	case Replace:
		return "REPLACE"
	case SourceCopy:
		return "SOURCE_COPY"
	case Zero:
		return "ZERO"
	case ReplaceZstd:
		return "REPLACE_ZSTD"
	case Patch:
		return "PATCH"
	}
	return fmt.Sprintf("type %d", int32(t))
}

// Extent is a run of blocks of a partition.
type Extent struct {
	Start, Blocks uint64
}

// Operation writes the blocks of Dst, all of them, in their order. No two
// operations of a payload write the same block, and together they write every
// block of the partition but those of HashTree.Tree.
type Operation struct {
	Type Type
	Src  []Extent // read from the source, in order; SourceCopy and Patch only
	Dst  []Extent // written to the target, in order
	// SrcSHA256 is the digest of the bytes of Src; SourceCopy and Patch only.
	SrcSHA256 [32]byte

	// Data is what a plan hands to Write, at most MaxData bytes. It may be
	// overwritten once Write asks for the next operation. It is not set in
	// operations that were read.
	Data []byte
	// Where the data lies, from the end of the metadata signatures, its length
	// in bytes, and its digest. Write sets them.
	DataOffset int64
	DataSize   int64
	DataSHA256 [32]byte
}

// Image is the size in bytes and the digest of a whole partition.
type Image struct {
	Size   int64
	SHA256 [32]byte
}

// HashTree says that the blocks of Tree are not in the payload: they are the
// dm-verity hash tree, without its superblock, over the blocks of Data, which
// the one who applies the payload makes after all operations.
type HashTree struct {
	Data, Tree Extent
	Algorithm  string // "sha256"
	Salt       []byte
}

// Info is what a payload says about the operating systems it leads from and
// to. It is signed with the manifest, so whoever applies the payload can refuse
// it before anything is written; see [Info.Check].
type Info struct {
	Name           string // of the operating system, such as "slipway"
	Version        string // MAJOR.MINOR.PATCH; also in PartitionUpdate.version
	MinimumVersion string // oldest version that may be replaced by this one; empty: any
	Architecture   string // Debian's word: "amd64"
	Channel        string // the payload was made for; may be empty
	Development    bool   // signed by a development key
	RootHash       string // of the new slot's dm-verity tree, hex

	// Of the version that a delta payload leads from; empty in a full one.
	SourceVersion  string
	SourceRootHash string // of its dm-verity tree, hex
}

// Manifest describes a payload.
type Manifest struct {
	Info      Info
	Timestamp int64 // seconds since 1970, of the lock; max_timestamp
	// Old is the source partition; nil in a full payload.
	Old        *Image
	New        Image
	HashTree   *HashTree // nil if the operations write every block
	Operations []Operation

	// Signers are the ids of the keys that sign, in the order of both Signatures
	// messages. Write sets them.
	Signers []string
	// Where the payload signatures lie, from the end of the metadata
	// signatures, and their length in bytes. Write sets them.
	SignaturesOffset int64
	SignaturesSize   int64
}

// Delta says that a source partition is needed.
func (m *Manifest) Delta() bool { return m.Old != nil }
