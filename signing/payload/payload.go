// Package payload reads, writes and applies update payloads: the CrAU format,
// major version 2, as Android and ChromeOS define it, for one partition of
// 4 KiB blocks.
//
// Layout of a payload, integers big endian:
//
//	offset  size  field
//	     0     4  magic "CrAU"
//	     4     8  major version, 2
//	    12     8  M, length of the manifest in bytes
//	    20     4  S, length of the metadata signatures in bytes
//	    24     M  manifest: DeltaArchiveManifest in protobuf's wire format
//	  24+M     S  metadata signatures: a Signatures message over bytes 0 to 24+M
//	24+M+S     -  data of the operations, one after the other, no gaps
//	     -     -  payload signatures: a Signatures message over everything in
//	              front of it but the metadata signatures; the end of the file
//
// Message and field numbers are those of update_metadata.proto of AOSP
// (platform/system/update_engine). Signatures are made over SHA-256 digests.
// Every private number, of fields and of operation types, is 1000 or above;
// readers of others pass over private fields:
//
//	DeltaArchiveManifest   1000  Info, a message; see [Info]
//	DeltaArchiveManifest   1001  ids of the keys that sign, repeated text
//	Signatures.Signature   1000  id of the key, text
//	InstallOperation.Type  1000  PATCH; see [Patch]
//
// A full payload has REPLACE, REPLACE_ZSTD (14) and ZERO operations over the
// whole partition, its hash tree included, so that any reader of the format
// extracts the identical image. A delta payload also has SOURCE_COPY and PATCH
// operations, and may leave the hash tree to the one who applies it.
//
// The package uses the standard library, klauspost/compress and protowire: the
// update engine on the host links it. It does not hold keys, know how patches
// or hash trees are made, or say what a machine may install: functions for
// those are handed in.
package payload

const (
	// BlockSize is the unit of extents, in bytes.
	BlockSize = 4096
	// Magic is how a payload begins.
	Magic = "CrAU"
	// MajorVersion is the only layout there is.
	MajorVersion = 2
	// PartitionName is the name of the only partition in a payload.
	PartitionName = "usr"

	headerSize = 24
)

// Limits of the format. A writer refuses to exceed them, so a reader that
// refuses what exceeds them refuses no payload of ours.
const (
	// MaxManifest bounds the manifest, in bytes.
	MaxManifest = 16 << 20
	// MaxSignatures bounds each of the two Signatures messages, in bytes.
	MaxSignatures = 16 << 10
	// MaxReplace bounds what one REPLACE or REPLACE_ZSTD operation writes, in
	// bytes. Other operations write as much as they say.
	MaxReplace = 8 << 20
	// MaxData bounds the data of one operation, in bytes.
	MaxData = 16 << 20
	// MaxPartition bounds the partition, in bytes. To read one back takes some
	// seconds.
	MaxPartition = 8 << 30
)
