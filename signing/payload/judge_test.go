package payload_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"slipway/build/tools/toolstest"
)

// schema is what readers of others know of the format: the messages, fields
// and numbers of AOSP's update_metadata.proto that matter to an extractor, in
// proto2 with its required fields, and nothing of ours.
func schema(t *testing.T) protoreflect.FileDescriptor {
	t.Helper()
	type field struct {
		name     string
		number   int32
		kind     string // u uint64, b bytes, s string, 4 fixed32, else a message or enum
		repeated bool
		required bool
	}
	message := func(name string, fields ...field) *descriptorpb.DescriptorProto {
		m := &descriptorpb.DescriptorProto{Name: proto.String(name)}
		for _, f := range fields {
			d := &descriptorpb.FieldDescriptorProto{
				Name: proto.String(f.name), Number: proto.Int32(f.number),
				Label: descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL.Enum(),
			}
			switch {
			case f.repeated:
				d.Label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED.Enum()
			case f.required:
				d.Label = descriptorpb.FieldDescriptorProto_LABEL_REQUIRED.Enum()
			}
			switch f.kind {
			case "u":
				d.Type = descriptorpb.FieldDescriptorProto_TYPE_UINT64.Enum()
			case "b":
				d.Type = descriptorpb.FieldDescriptorProto_TYPE_BYTES.Enum()
			case "s":
				d.Type = descriptorpb.FieldDescriptorProto_TYPE_STRING.Enum()
			case "4":
				d.Type = descriptorpb.FieldDescriptorProto_TYPE_FIXED32.Enum()
			case "Type":
				d.Type, d.TypeName = descriptorpb.FieldDescriptorProto_TYPE_ENUM.Enum(), proto.String(".judge.Type")
			default:
				d.Type, d.TypeName = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), proto.String(".judge."+f.kind)
			}
			m.Field = append(m.Field, d)
		}
		return m
	}
	types := &descriptorpb.EnumDescriptorProto{Name: proto.String("Type")}
	for number, name := range []string{
		"REPLACE", "REPLACE_BZ", "MOVE", "BSDIFF", "SOURCE_COPY", "SOURCE_BSDIFF", "ZERO", "DISCARD",
		"REPLACE_XZ", "PUFFDIFF", "BROTLI_BSDIFF", "ZUCCHINI", "LZ4DIFF_BSDIFF", "LZ4DIFF_PUFFDIFF", "ZSTD",
	} {
		types.Value = append(types.Value, &descriptorpb.EnumValueDescriptorProto{Name: proto.String(name), Number: proto.Int32(int32(number))})
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("judge.proto"), Package: proto.String("judge"), Syntax: proto.String("proto2"),
		EnumType: []*descriptorpb.EnumDescriptorProto{types},
		MessageType: []*descriptorpb.DescriptorProto{
			message("Extent", field{name: "start_block", number: 1, kind: "u"}, field{name: "num_blocks", number: 2, kind: "u"}),
			message("Signature", field{name: "data", number: 2, kind: "b"}, field{name: "unpadded_signature_size", number: 3, kind: "4"}),
			message("Signatures", field{name: "signatures", number: 1, kind: "Signature", repeated: true}),
			message("PartitionInfo", field{name: "size", number: 1, kind: "u"}, field{name: "hash", number: 2, kind: "b"}),
			message("InstallOperation",
				field{name: "type", number: 1, kind: "Type", required: true},
				field{name: "data_offset", number: 2, kind: "u"}, field{name: "data_length", number: 3, kind: "u"},
				field{name: "src_extents", number: 4, kind: "Extent", repeated: true},
				field{name: "dst_extents", number: 6, kind: "Extent", repeated: true},
				field{name: "data_sha256_hash", number: 8, kind: "b"}),
			message("PartitionUpdate",
				field{name: "partition_name", number: 1, kind: "s", required: true},
				field{name: "new_partition_info", number: 7, kind: "PartitionInfo"},
				field{name: "operations", number: 8, kind: "InstallOperation", repeated: true},
				field{name: "hash_tree_extent", number: 11, kind: "Extent"},
				field{name: "version", number: 17, kind: "s"}),
			message("DeltaArchiveManifest",
				field{name: "block_size", number: 3, kind: "u"},
				field{name: "signatures_offset", number: 4, kind: "u"}, field{name: "signatures_size", number: 5, kind: "u"},
				field{name: "minor_version", number: 12, kind: "u"},
				field{name: "partitions", number: 13, kind: "PartitionUpdate", repeated: true}),
		},
	}, nil)
	require.NoError(t, err)
	return file
}

// judge reads messages with the protobuf runtime and no code of ours.
type judge struct{ file protoreflect.FileDescriptor }

func (j judge) parse(t *testing.T, name string, b []byte) node {
	t.Helper()
	m := dynamicpb.NewMessage(j.file.Messages().ByName(protoreflect.Name(name)))
	require.NoError(t, proto.Unmarshal(b, m))
	return node{m}
}

type node struct{ protoreflect.Message }

func (n node) value(name string) protoreflect.Value {
	return n.Get(n.Descriptor().Fields().ByName(protoreflect.Name(name)))
}
func (n node) uint(name string) int     { return int(n.value(name).Uint()) }
func (n node) message(name string) node { return node{n.value(name).Message()} }

func (n node) list(name string) (all []node) {
	l := n.value(name).List()
	for i := range l.Len() {
		all = append(all, node{l.Get(i).Message()})
	}
	return all
}

// A reader made of the protobuf runtime, AOSP's field numbers and the program
// zstd extracts the identical image from a full payload.
func TestFullPayloadJudgedByProtobufAndZstd(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: needs zstd")
	}
	j := judge{schema(t)}
	img := image(3000, 6)
	s := newECDSA(t, "two")
	p := full(t, img, s, newEd25519("one", 1))

	require.Equal(t, "CrAU", string(p[:4]))
	require.Equal(t, uint64(2), binary.BigEndian.Uint64(p[4:]))
	size := int(binary.BigEndian.Uint64(p[12:]))
	signed := int(binary.BigEndian.Uint32(p[20:]))
	manifest := j.parse(t, "DeltaArchiveManifest", p[24:24+size])
	data := p[24+size+signed:]
	assert.Equal(t, 4096, manifest.uint("block_size"))
	assert.Equal(t, 0, manifest.uint("minor_version"), "a full payload")
	partitions := manifest.list("partitions")
	require.Len(t, partitions, 1)
	usr := partitions[0]
	assert.Equal(t, "usr", usr.value("partition_name").String())
	assert.Equal(t, "4892.0.0", usr.value("version").String())
	assert.False(t, usr.Has(usr.Descriptor().Fields().ByName("hash_tree_extent")), "the tree is in the payload")

	out := bytes.Repeat([]byte{0xee}, usr.message("new_partition_info").uint("size"))
	seen := map[string]int{}
	for i, op := range usr.list("operations") {
		blob := data[op.uint("data_offset"):][:op.uint("data_length")]
		number := op.value("type").Enum()
		kind := string(op.Descriptor().Fields().ByName("type").Enum().Values().ByNumber(number).Name())
		seen[kind]++
		if hash := op.value("data_sha256_hash").Bytes(); len(blob) > 0 {
			sum := sha256.Sum256(blob)
			assert.Equal(t, sum[:], hash)
		}
		var content []byte
		switch kind {
		case "REPLACE":
			content = blob
		case "ZSTD":
			cmd := toolstest.Command(t, "zstd", "-d", "-q", "-c")
			cmd.Stdin = bytes.NewReader(blob)
			var err error
			content, err = cmd.Output()
			require.NoError(t, err, "operation %d", i)
		case "ZERO":
			for _, e := range op.list("dst_extents") {
				content = append(content, make([]byte, e.uint("num_blocks")*4096)...)
			}
		}
		for _, e := range op.list("dst_extents") {
			n := copy(out[e.uint("start_block")*4096:][:e.uint("num_blocks")*4096], content)
			content = content[n:]
		}
		assert.Empty(t, content, "operation %d", i)
	}
	assert.True(t, bytes.Equal(img, out))
	sum := sha256.Sum256(out)
	assert.Equal(t, sum[:], usr.message("new_partition_info").value("hash").Bytes())
	for _, kind := range []string{"REPLACE", "ZSTD", "ZERO"} {
		assert.NotZero(t, seen[kind], kind)
	}

	// AOSP's verifier cuts a signature to its unpadded size.
	tail := data[manifest.uint("signatures_offset"):]
	assert.Len(t, tail, manifest.uint("signatures_size"))
	for what, part := range map[string]struct{ signed, message []byte }{
		"metadata": {p[:24+size], p[24+size:][:signed]},
		"payload":  {append(bytes.Clone(p[:24+size]), data[:manifest.uint("signatures_offset")]...), tail},
	} {
		list := j.parse(t, "Signatures", part.message).list("signatures")
		require.Len(t, list, 2)
		signature := list[0].value("data").Bytes()[:list[0].uint("unpadded_signature_size")]
		assert.True(t, s.key.Verify(sha256.Sum256(part.signed), signature), what)
	}
}
