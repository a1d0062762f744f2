package partitions

import (
	"encoding/binary"

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
	// TypeKernel is ChromeOS's slot, with the same attributes as TypeUSR.
	// CoreOS has none; Next passes it over.
	TypeKernel = "fe3a2a5d-4f32-41a7-b725-accc3285a309"
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
	// Description is what cgpt shows for it.
	Description string
	// Type is the GUID in its usual text form, lower case.
	Type string
}

// TypeNames lists every name a type can be given by; several names can stand
// for one type, and the first one describes it. The names up to "hibernate"
// and their texts are those of vboot's cgpt (cgpt_common.c, release R106),
// the others those of CoreOS's and Flatcar's (seismograph, cgpt_common.c).
func TypeNames() []TypeName {
	const basicData = "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"
	return []TypeName{
		{"firmware", "ChromeOS firmware", "cab6e88e-abf3-4102-a07a-d4bb9be3c1d3"},
		{"kernel", "ChromeOS kernel", TypeKernel},
		{"rootfs", "ChromeOS rootfs", "3cb8e202-3b7e-47dd-8a3c-7ff2a13cfcec"},
		{"data", "Linux data", TypeLinuxData},
		{"basicdata", "Basic data", basicData},
		{"reserved", "ChromeOS reserved", "2e0a753d-9e48-43b0-8337-b15192cb1b5e"},
		{"efi", "EFI System Partition", TypeEFI},
		{"unused", "Unused (nonexistent) partition", "00000000-0000-0000-0000-000000000000"},
		{"minios", "ChromeOS miniOS", "09845860-705f-4bb5-b16c-8a8a099caf52"},
		{"hibernate", "ChromeOS hibernate", "3f0f8318-f146-4e6b-8222-c28c8f02e0d5"},

		{"chromeos-data", "Alias for mswin-data", basicData},
		{"mswin-data", "MS Windows data", basicData},
		{"bios", "BIOS Boot Partition", TypeBIOSBoot},
		{"linux-data", "Linux data", TypeLinuxData},
		{"linux-swap", "Linux swap", "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f"},
		{"linux-boot", "Linux /boot", "bc13c2ff-59e6-4262-a352-b275fd6f7172"},
		{"linux-home", "Linux /home", "933ac7e1-2eb4-4f13-b844-0e14e2aef915"},
		{"linux-lvm", "Linux LVM", "e6d6d379-f507-44c2-a23c-238f2a3df928"},
		{"linux-raid", "Linux RAID", "a19d880f-05fc-4d3b-a006-743f0f84911e"},
		{"linux-reserved", "Linux reserved", "8da63339-0007-60c0-c436-083ac8230908"},

		{"coreos-usr", "Alias for coreos-rootfs", TypeUSR},
		{"coreos-rootfs", "CoreOS rootfs", TypeUSR},
		{"coreos-resize", "CoreOS auto-resize", TypeResize},
		{"coreos-reserved", "CoreOS reserved", TypeReserved},
		{"coreos-root-raid", "CoreOS RAID containing root", TypeRootRAID},
		{"flatcar-usr", "Alias for flatcar-rootfs", TypeUSR},
		{"flatcar-rootfs", "Flatcar Container Linux rootfs", TypeUSR},
		{"flatcar-resize", "Flatcar Container Linux auto-resize", TypeResize},
		{"flatcar-reserved", "Flatcar Container Linux reserved", TypeReserved},
		{"flatcar-root-raid", "Flatcar Container Linux RAID containing root", TypeRootRAID},
	}
}

// ParseType turns a type's name or GUID into the GUID; ok is false if it is
// neither.
func ParseType(s string) (id uuid.UUID, ok bool) {
	for _, n := range TypeNames() {
		if n.Name == s {
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

// DecodeGUID reads a GUID in the mixed-endian form of GPT, 16 bytes: the
// first three groups are little-endian (UEFI specification, appendix A).
func DecodeGUID(b []byte) uuid.UUID {
	var id uuid.UUID
	copy(id[:], b[:16])
	return swapGUID(id)
}

// PutGUID writes a GUID in the mixed-endian form of GPT, 16 bytes.
func PutGUID(b []byte, id uuid.UUID) {
	id = swapGUID(id)
	copy(b[:16], id[:])
}

func swapGUID(id uuid.UUID) uuid.UUID {
	binary.BigEndian.PutUint32(id[0:], binary.LittleEndian.Uint32(id[0:]))
	binary.BigEndian.PutUint16(id[4:], binary.LittleEndian.Uint16(id[4:]))
	binary.BigEndian.PutUint16(id[6:], binary.LittleEndian.Uint16(id[6:]))
	return id
}
