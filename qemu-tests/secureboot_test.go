package qemutests_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/authenticode"
	"slipway/build/efivar"
	"slipway/build/fat"
	"slipway/qemu-tests/powercut"
	"slipway/qemu-tests/vm"
	"slipway/signing"
)

// Test keys, and what OVMF's console says of files it does not start.
const (
	secureKeys  = "build/authenticode/testdata/"
	rsaKey      = secureKeys + "rsa2048-test.pem"
	longKey     = secureKeys + "rsa4096-test.pem"
	curveKey    = secureKeys + "p256-test.pem"
	fileRefused = `BdsDxe: failed to load Boot\d+ .*: Access Denied`
)

// TestSecureBoot boots images whose UKI is signed on machines that want it to
// be.
//
// The image and its next version are built with an ECDSA key, and their UKIs
// and kernels signed by that and an RSA key. OVMF is enrolled with the RSA key:
// Debian builds it without elliptic curves (EDK2_OPENSSL_NOEC).
func TestSecureBoot(t *testing.T) {
	eachChannel(t, alphaOnly, func(t *testing.T, l *lab) {
		s := newSecureLab(t, l)
		t.Run("enrolled", s.testEnrolled)
		t.Run("BIOS", func(t *testing.T) {
			// GRUB takes kernel and initramfs out of the signed UKI.
			m := s.fresh(t).boot(t, &vm.Config{})
			m.expect(t, `slipway: USR-A: verifying every block`)
		})
		t.Run("next kernel unsigned", s.testUnsignedKernel)
		t.Run("unsigned", func(t *testing.T) {
			m := l.fresh(t).boot(t, &vm.Config{Firmware: vm.Secure, Vars: s.enroll(t, s.rsa)})
			m.refused(t)
		})
		t.Run("tampered", func(t *testing.T) {
			uki := bytes.Clone(s.uki)
			uki[len(uki)-1<<20] ^= 1 // in the initramfs
			m := s.stage1(t, uki).boot(t, &vm.Config{Firmware: vm.Secure, Vars: s.enroll(t, s.rsa)})
			m.refused(t)
		})
		t.Run("other key", func(t *testing.T) {
			m := s.fresh(t).boot(t, &vm.Config{Firmware: vm.Secure, Vars: s.enroll(t, s.long)})
			m.refused(t)
		})
		t.Run("ECDSA alone", func(t *testing.T) {
			// A failure here is good news: firmware has learned it.
			d := s.stage1(t, s.sign(t, s.curve))
			m := d.boot(t, &vm.Config{Firmware: vm.Secure, Vars: s.enroll(t, s.curve)})
			m.refused(t)
		})
		t.Run("RSA-4096", func(t *testing.T) {
			d := s.stage1(t, s.sign(t, s.long))
			m := d.boot(t, &vm.Config{Firmware: vm.Secure, Vars: s.enroll(t, s.long)})
			m.expect(t, `EFI stub: UEFI Secure Boot is enabled`)
		})
	})
}

// secureLab is a lab whose release is signed for Secure Boot.
type secureLab struct {
	*lab
	newer            *release
	bare             *release // as newer, but not signed for firmware
	uki              []byte   // of the release
	rsa, long, curve *authenticode.Identity
}

func newSecureLab(t *testing.T, l *lab) *secureLab {
	l.mu.Lock() // one build at a time
	defer l.mu.Unlock()
	s := &secureLab{rsa: secureIdentity(t, rsaKey), long: secureIdentity(t, longKey), curve: secureIdentity(t, curveKey)}
	build := func(patches int, args ...string) *release {
		args = append(args, "--lock", l.path("packages.lock"), "--version", l.later(t, patches), "--key", curveKey)
		r, err := readRelease(l.build(t, l.Channel, args...))
		require.NoError(t, err)
		return r
	}
	const other = "qemu-tests/testdata/next" // another kernel
	s.bare = build(11, "--overlay", other)
	s.newer = build(12, "--overlay", other, "--secureboot-key", curveKey, "--secureboot-key", rsaKey)
	s.lab = &lab{bench: l.bench, release: build(10, "--secureboot-key", curveKey, "--secureboot-key", rsaKey)}
	var err error
	s.uki, err = os.ReadFile(s.path("boot.efi"))
	require.NoError(t, err)
	return s
}

// secureIdentity is a test key with the certificate that a build makes for it.
func secureIdentity(t *testing.T, key string) *authenticode.Identity {
	signer, err := signing.Open(t.Context(), filepath.Join("..", key), &signing.Options{})
	require.NoError(t, err)
	c, err := authenticode.SelfSigned(t.Context(), signer, "Slipway Secure Boot "+signer.KeyID())
	require.NoError(t, err)
	return &authenticode.Identity{Signer: signer, Certificate: c}
}

// sign is the release's UKI signed by somebody else.
func (s *secureLab) sign(t *testing.T, id *authenticode.Identity) []byte {
	var b bytes.Buffer
	require.NoError(t, authenticode.Sign(t.Context(), &b, bytes.NewReader(s.uki), int64(len(s.uki)),
		&authenticode.Options{Identities: []authenticode.Identity{*id}}))
	return b.Bytes()
}

// stage1 is the release's disk with another UKI for the firmware to start.
func (s *secureLab) stage1(t *testing.T, uki []byte) *testDisk {
	d := s.fresh(t)
	offset, size := d.slot(t, "EFI-SYSTEM")
	_, err := fat.Replace(stretch{io.NewSectionReader(d, offset, size), io.NewOffsetWriter(d, offset), d}, size,
		fat.Replacement{Path: "EFI/BOOT/BOOTX64.EFI", Content: bytes.NewReader(uki), Size: int64(len(uki))})
	require.NoError(t, err)
	return d
}

// stretch is a partition of a disk.
type stretch struct {
	io.ReaderAt
	io.WriterAt
	disk *testDisk
}

func (s stretch) Sync() error { return s.disk.Sync() }

func (s *secureLab) variable(t *testing.T, name string, id *authenticode.Identity) *efivar.Variable {
	made := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	v, err := efivar.SecureBoot(name, efivar.Certificates(uuid.Nil, id.Certificate), made)
	require.NoError(t, err)
	return v
}

// enroll makes the variables of a machine that trusts a key, and no other.
func (s *secureLab) enroll(t *testing.T, id *authenticode.Identity) string {
	image, err := os.ReadFile(s.tools.Path("usr/share/OVMF/OVMF_VARS_4M.fd"))
	require.NoError(t, err)
	store, err := efivar.OpenStore(image)
	require.NoError(t, err)
	for _, name := range []string{"db", "KEK", "PK"} {
		require.NoError(t, store.Add(*s.variable(t, name, id)))
	}
	path := filepath.Join(t.TempDir(), "vars.fd")
	require.NoError(t, os.WriteFile(path, store.Bytes(), 0o600))
	return path
}

// refused waits until the firmware has refused the disk, of which nothing must
// have run.
func (m *machine) refused(t *testing.T) {
	t.Helper()
	m.expect(t, fileRefused)
	m.expect(t, `BdsDxe: No bootable option or device was found`)
	assert.NotContains(t, m.Console().Text(), "EFI stub")
	assert.NotContains(t, m.Console().Text(), "slipway:")
}

// testEnrolled starts a machine without keys, gives it keys as its owner
// would, and restarts it into a new version with another kernel, which becomes
// the proven one.
func (s *secureLab) testEnrolled(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "disk.img"))
	require.NoError(t, err)
	defer file.Close()
	writeDisk(t, file, s.release, s.newer)
	m := newMachine(t, s.lab, &vm.Config{
		Disk: file.Name(), Firmware: vm.Secure, Memory: 2048, Credentials: healthSoon(),
	})
	m.up(t)
	assert.Equal(t, "0", m.efiByte(t, "SecureBoot", efivar.Global))
	assert.Equal(t, "1", m.efiByte(t, "SetupMode", efivar.Global))
	assert.Contains(t, m.run(t, "cat /sys/kernel/security/lockdown"), "[none]")
	for _, name := range []string{"db", "KEK", "PK"} {
		output, code := m.setVariable(t, s.variable(t, name, s.rsa), s.rsa)
		require.Zero(t, code, "%s: %s", name, output)
	}
	m.run(t, "cgpt add -i 4 -P 2 -T 1 -S 0 /dev/vda")
	m.reboot(t)
	m.booted(t)

	m.runs(t, "USR-B", s.newer)
	assert.Equal(t, "1", m.efiByte(t, "SecureBoot", efivar.Global))
	assert.Equal(t, "0", m.efiByte(t, "SetupMode", efivar.Global))
	assert.Contains(t, m.run(t, "cat /sys/kernel/security/lockdown"), "[integrity]")
	assert.Contains(t, m.run(t, "cat /proc/cmdline"), "slipway.test=next slipway.slot=4")
	assert.Contains(t, m.Console().Text(), "brings another kernel: starting it")
	assert.Equal(t, "0", m.run(t, "cat /proc/sys/kernel/tainted"), "every module is signed")

	// With everything that an image holds running, the version is healthy, and
	// the firmware gets its kernel.
	m.healthy(t)
	assert.Equal(t, "priority=2 tries=0 successful=1", m.attributes(t, 4))
	assert.Equal(t, s.newer.stage1(t), m.stage1(t))

	// An update of what the firmware trusts is taken from the key of KEK only.
	more := s.variable(t, "db", s.long)
	more.Attributes |= efivar.Append
	more.Time = more.Time.AddDate(0, 1, 0)
	output, code := m.setVariable(t, more, s.long)
	assert.NotZero(t, code, "signed by a stranger: %s", output)
	output, code = m.setVariable(t, more, s.rsa)
	assert.Zero(t, code, output)
	raw, err := hex.DecodeString(m.run(t, "od -An -v -tx1 "+efiPath("db", efivar.Security)+" | tr -d ' \\n'"))
	require.NoError(t, err)
	entries, err := efivar.ParseLists(raw[4:])
	require.NoError(t, err)
	if assert.Len(t, entries, 2) {
		assert.Equal(t, s.rsa.Certificate.Raw, entries[0].Data)
		assert.Equal(t, s.long.Certificate.Raw, entries[1].Data)
	}
}

// testUnsignedKernel restarts into a version whose kernel nobody signed for the
// firmware, though the slot is signed: the running kernel must not start it.
func (s *secureLab) testUnsignedKernel(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "disk.img"))
	require.NoError(t, err)
	defer file.Close()
	size := writeDisk(t, file, s.release, s.bare)
	d := &testDisk{
		Disk: powercut.Over(file, size), lab: s.lab, base: file.Name(), layout: layoutOf(t, file, size),
	}
	d.onTrial(t)
	m := d.boot(t, &vm.Config{Firmware: vm.Secure, Vars: s.enroll(t, s.rsa), Memory: 2048})
	m.expect(t, `slipway: USR-B.*: load its kernel: not signed by a key that this machine's Secure Boot trusts`)
	m.expect(t, `slipway: USR-A: starting version`)
}

func efiPath(name, vendor string) string {
	return "/sys/firmware/efi/efivars/" + name + "-" + vendor
}

// efiByte is the one byte that a variable holds.
func (m *machine) efiByte(t *testing.T, name, vendor string) string {
	t.Helper()
	return m.run(t, "od -An -tu1 -j4 "+efiPath(name, vendor)+" | tr -d ' '")
}

// setVariable has the guest's kernel hand a signed update to the firmware.
func (m *machine) setVariable(t *testing.T, v *efivar.Variable, id *authenticode.Identity) (output string, code int) {
	t.Helper()
	update, err := v.SignUpdate(context.Background(), id)
	require.NoError(t, err)
	attributes := byte(v.Attributes)
	data := append([]byte{attributes, 0, 0, 0}, update...)
	path := efiPath(v.Name, v.Vendor.String())
	return m.try(t, fmt.Sprintf("chattr -i %s 2>/dev/null; base64 -d >/tmp/update <<'END'\n%s\nEND\n"+
		"dd if=/tmp/update of=%s bs=64K conv=notrunc status=none 2>&1", path, base64.StdEncoding.EncodeToString(data), path))
}
