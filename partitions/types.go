package partitions

import (
	"encoding/binary"
	"strings"

	"github.com/google/uuid"
)

// Partition types. TypeUSR, TypeResize and TypeReserved are CoreOS's own
// (coreos/seismograph, src/cgpt/cgpt_common.c); the others are from the UEFI
// specification, the discoverable partitions specification and GRUB.
const (
	// TypeUSR marks a slot: a read-only /usr that takes part in slot choice.
	TypeUSR = "5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6"
	// TypeResize marks a file system that grows with the disk.
	TypeResize = "3884dd41-8582-4404-b9a8-e9b84f2df50e"
	// TypeReserved is space the system keeps to itself.
	TypeReserved = "c95dc21a-df0e-4340-8d7b-26cbfa9a03e0"
	// TypeRootRAID marks a member of a RAID with the root file system.
	TypeRootRAID = "be9067b9-ea49-4f15-b4f6-f36f8c9e1818"
	// TypeEFI is the EFI system partition.
	TypeEFI = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
	// TypeBIOSBoot holds GRUB's core image for BIOS machines.
	TypeBIOSBoot = "21686148-6449-6e6f-744e-656564454649"
	// TypeLinuxData is any Linux file system.
	TypeLinuxData = "0fc63daf-8483-4772-8e79-3d69d8477de4"
)

// TypeName is one name of a partition type.
type TypeName struct {
	// Name is what users type, for example "coreos-usr".
	Name string
	// Type is the GUID in its usual text form, lower case.
	Type string
}

// TypeNames lists every name a type can be given by, in the order of
// seismograph's table; several names can stand for one type.
func TypeNames() []TypeName {
	return []TypeName{
		{"coreos-rootfs", TypeUSR},
		{"coreos-usr", TypeUSR},
		{"coreos-resize", TypeResize},
		{"coreos-reserved", TypeReserved},
		{"coreos-root-raid", TypeRootRAID},
		{"flatcar-rootfs", TypeUSR},
		{"flatcar-usr", TypeUSR},
		{"flatcar-resize", TypeResize},
		{"flatcar-reserved", TypeReserved},
		{"flatcar-root-raid", TypeRootRAID},
		{"efi", TypeEFI},
		{"bios", TypeBIOSBoot},
		{"data", TypeLinuxData},
		{"linux-data", TypeLinuxData},
		{"linux-swap", "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f"},
		{"linux-boot", "bc13c2ff-59e6-4262-a352-b275fd6f7172"},
		{"linux-home", "933ac7e1-2eb4-4f13-b844-0e14e2aef915"},
		{"linux-lvm", "e6d6d379-f507-44c2-a23c-238f2a3df928"},
		{"linux-raid", "a19d880f-05fc-4d3b-a006-743f0f84911e"},
		{"linux-reserved", "8da63339-0007-60c0-c436-083ac8230908"},
		{"mswin-data", "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"},
		{"chromeos-data", "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"},
		{"kernel", "fe3a2a5d-4f32-41a7-b725-accc3285a309"},
		{"rootfs", "3cb8e202-3b7e-47dd-8a3c-7ff2a13cfcec"},
		{"reserved", "2e0a753d-9e48-43b0-8337-b15192cb1b5e"},
		{"unused", "00000000-0000-0000-0000-000000000000"},
	}
}

// ParseType turns a type's name or GUID into the GUID; ok is false if it is
// neither.
func ParseType(s string) (id uuid.UUID, ok bool) {
	for _, n := range TypeNames() {
		if strings.EqualFold(n.Name, s) {
			return uuid.MustParse(n.Type), true
		}
	}
	if len(s) != 36 {
		return uuid.UUID{}, false
	}
	id, err := uuid.Parse(s)
	return id, err == nil
}

// usr is TypeUSR as a value.
func usr() uuid.UUID { return uuid.MustParse(TypeUSR) }

// guidFromDisk reads a GUID in the mixed-endian form of GPT: the first three
// groups are little-endian (UEFI specification, appendix A).
func guidFromDisk(b []byte) uuid.UUID {
	var id uuid.UUID
	copy(id[:], b[:16])
	return swapGUID(id)
}

// putGUID writes a GUID in the mixed-endian form of GPT.
func putGUID(b []byte, id uuid.UUID) {
	id = swapGUID(id)
	copy(b[:16], id[:])
}

func swapGUID(id uuid.UUID) uuid.UUID {
	binary.BigEndian.PutUint32(id[0:], binary.LittleEndian.Uint32(id[0:]))
	binary.BigEndian.PutUint16(id[4:], binary.LittleEndian.Uint16(id[4:]))
	binary.BigEndian.PutUint16(id[6:], binary.LittleEndian.Uint16(id[6:]))
	return id
}
