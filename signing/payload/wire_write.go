package payload

import (
	"encoding/binary"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of update_metadata.proto; those of 1000 and above are ours.
const (
	extentStart, extentBlocks = 1, 2

	signaturesSignature                                 = 1
	signatureData, signatureSize, signatureKeyID        = 2, 3, 1000
	imageSize, imageHash                                = 1, 2
	operationType                                       = 1
	operationDataOffset, operationDataLength            = 2, 3
	operationSrc, operationDst                          = 4, 6
	operationDataHash, operationSrcHash                 = 8, 9
	partitionName, partitionOld, partitionNew           = 1, 6, 7
	partitionOperations                                 = 8
	partitionTreeData, partitionTree                    = 10, 11
	partitionTreeAlgorithm, partitionTreeSalt           = 12, 13
	partitionVersion                                    = 17
	manifestBlockSize                                   = 3
	manifestSignOffset, manifestSignSize                = 4, 5
	manifestMinorVersion                                = 12
	manifestPartitions                                  = 13
	manifestTimestamp                                   = 14
	manifestInfo, manifestSigners                       = 1000, 1001
	infoName, infoVersion, infoMinimum                  = 1, 2, 3
	infoArchitecture, infoChannel                       = 4, 5
	infoDevelopment, infoRootHash                       = 6, 7
	infoSourceVersion, infoSourceRootHash               = 8, 9
	minorVersionFull                             uint64 = 0
	// minorVersionDelta tells engines of others, which refuse versions above
	// their own, that they cannot apply a delta payload of ours.
	minorVersionDelta uint64 = 1000
)

// message builds one protobuf message. Zero numbers and empty texts are left
// out by the methods that say so.
type message []byte

func (m *message) uint(field protowire.Number, v uint64) {
	*m = protowire.AppendTag(*m, field, protowire.VarintType)
	*m = protowire.AppendVarint(*m, v)
}

func (m *message) uintIfSet(field protowire.Number, v uint64) {
	if v != 0 {
		m.uint(field, v)
	}
}

func (m *message) fixed32(field protowire.Number, v uint32) {
	*m = protowire.AppendTag(*m, field, protowire.Fixed32Type)
	*m = protowire.AppendFixed32(*m, v)
}

func (m *message) bytes(field protowire.Number, v []byte) {
	*m = protowire.AppendTag(*m, field, protowire.BytesType)
	*m = protowire.AppendBytes(*m, v)
}

func (m *message) textIfSet(field protowire.Number, v string) {
	if v != "" {
		m.bytes(field, []byte(v))
	}
}

func encodeExtent(e Extent) message {
	var m message
	m.uint(extentStart, e.Start)
	m.uint(extentBlocks, e.Blocks)
	return m
}

func encodeImage(i *Image) message {
	var m message
	m.uint(imageSize, uint64(i.Size))
	m.bytes(imageHash, i.SHA256[:])
	return m
}

func encodeOperation(o *Operation) message {
	var m message
	m.uint(operationType, uint64(o.Type))
	if o.DataSize > 0 {
		m.uint(operationDataOffset, uint64(o.DataOffset))
		m.uint(operationDataLength, uint64(o.DataSize))
	}
	for _, e := range o.Src {
		m.bytes(operationSrc, encodeExtent(e))
	}
	for _, e := range o.Dst {
		m.bytes(operationDst, encodeExtent(e))
	}
	if o.DataSize > 0 {
		m.bytes(operationDataHash, o.DataSHA256[:])
	}
	if len(o.Src) > 0 {
		m.bytes(operationSrcHash, o.SrcSHA256[:])
	}
	return m
}

func encodePartition(m *Manifest) message {
	var p message
	p.textIfSet(partitionName, PartitionName)
	if m.Old != nil {
		p.bytes(partitionOld, encodeImage(m.Old))
	}
	p.bytes(partitionNew, encodeImage(&m.New))
	for i := range m.Operations {
		p.bytes(partitionOperations, encodeOperation(&m.Operations[i]))
	}
	if t := m.HashTree; t != nil {
		p.bytes(partitionTreeData, encodeExtent(t.Data))
		p.bytes(partitionTree, encodeExtent(t.Tree))
		p.textIfSet(partitionTreeAlgorithm, t.Algorithm)
		p.bytes(partitionTreeSalt, t.Salt)
	}
	p.textIfSet(partitionVersion, m.Info.Version)
	return p
}

func encodeInfo(i *Info) message {
	var m message
	m.textIfSet(infoName, i.Name)
	m.textIfSet(infoVersion, i.Version)
	m.textIfSet(infoMinimum, i.MinimumVersion)
	m.textIfSet(infoArchitecture, i.Architecture)
	m.textIfSet(infoChannel, i.Channel)
	if i.Development {
		m.uint(infoDevelopment, 1)
	}
	m.textIfSet(infoRootHash, i.RootHash)
	m.textIfSet(infoSourceVersion, i.SourceVersion)
	m.textIfSet(infoSourceRootHash, i.SourceRootHash)
	return m
}

func encodeManifest(m *Manifest) []byte {
	var b message
	b.uint(manifestBlockSize, BlockSize)
	b.uint(manifestSignOffset, uint64(m.SignaturesOffset))
	b.uint(manifestSignSize, uint64(m.SignaturesSize))
	if m.Delta() {
		b.uint(manifestMinorVersion, minorVersionDelta)
	} else {
		b.uint(manifestMinorVersion, minorVersionFull)
	}
	b.bytes(manifestPartitions, encodePartition(m))
	b.uintIfSet(manifestTimestamp, uint64(m.Timestamp))
	b.bytes(manifestInfo, encodeInfo(&m.Info))
	for _, id := range m.Signers {
		b.bytes(manifestSigners, []byte(id))
	}
	return b
}

// encodeHeader makes the 24 bytes in front of the manifest.
func encodeHeader(manifestSize, signaturesSize int) []byte {
	b := append(make([]byte, 0, headerSize), Magic...)
	b = binary.BigEndian.AppendUint64(b, MajorVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(manifestSize))
	return binary.BigEndian.AppendUint32(b, uint32(signaturesSize))
}
