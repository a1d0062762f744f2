package qemutests_test

import (
	"archive/tar"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/qemu-tests/vm"
)

// TestBIOS uses one machine as an administrator would: it boots on a disk
// larger than the image, runs what the image is for, and restarts.
func TestBIOS(t *testing.T) {
	eachChannel(t, alphaOnly, func(t *testing.T, l *lab) {
		const diskSize = 12 << 30
		m := newMachine(t, l, &vm.Config{
			DiskSize: diskSize, Memory: 2048,
			Drives: []vm.Drive{{Path: containerImage(t), Serial: "container"}},
		})
		m.booted(t)
		t.Run("usr", m.testUSR)
		t.Run("version", m.testVersion)
		t.Run("root-grew", func(t *testing.T) {
			size, err := strconv.ParseInt(m.run(t, "df -B1 --output=size / | tail -n 1"), 10, 64)
			require.NoError(t, err)
			assert.Greater(t, size, int64(9<<30), "of a disk of %d", int64(diskSize))
		})
		t.Run("docker", m.testDocker)
		t.Run("fleet-container", m.testFleetContainer)
		t.Run("etcd", m.testEtcd)
		t.Run("etcd-without-majority", m.testEtcdWithoutMajority)
		t.Run("etcd-tls", m.testEtcdTLS)
		t.Run("second-boot", m.testSecondBoot)
		t.Run("disk-is-sound", func(t *testing.T) { m.testDiskIsSound(t) })
	})
}

// TestUEFI starts the same image from OVMF.
func TestUEFI(t *testing.T) {
	eachChannel(t, alphaOnly, func(t *testing.T, l *lab) {
		m := newMachine(t, l, lean(&vm.Config{Firmware: vm.UEFI}))
		m.booted(t)
		t.Run("firmware", func(t *testing.T) { m.run(t, "test -d /sys/firmware/efi") })
		t.Run("usr", m.testUSR)
		t.Run("version", m.testVersion)
		t.Run("second-boot", m.testSecondBoot)
	})
}

// testUSR checks that /usr is the verified slot and cannot be written.
func (m *machine) testUSR(t *testing.T) {
	assert.Regexp(t, `^/dev/mapper/usr /usr erofs ro,`, m.run(t, "grep ' /usr ' /proc/mounts"))
	output, code := m.try(t, "touch /usr/lib/x")
	assert.NotZero(t, code)
	assert.Contains(t, output, "Read-only file system")

	report := m.bootReport(t)
	assert.Equal(t, "USR-A", report.Slot)
	assert.Empty(t, report.Failures)
	assert.Equal(t, filepath.Base(report.Device), m.run(t, `
		for dm in /sys/block/dm-*; do
			[ "$(cat $dm/dm/name)" = usr ] && ls $dm/slaves
		done`))
	assert.Contains(t, m.run(t, "cat /sys/block/dm-*/dm/uuid"), "CRYPT-VERITY-"+report.RootHash[:32])
	assert.Equal(t, "USR-A", m.run(t, "lsblk -ndo PARTLABEL "+report.Device))
}

func (m *machine) testVersion(t *testing.T) {
	assert.Equal(t, m.lab.Version, m.run(t, ". /etc/os-release; echo $VERSION_ID"))
	assert.Equal(t, m.lab.Version, m.bootReport(t).Version)
}

// containerImage makes a disk that is a tar with one static program, and
// returns its path.
func containerImage(t *testing.T) string {
	dir := t.TempDir()
	program, image := filepath.Join(dir, "hello"), filepath.Join(dir, "image.tar")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "./testdata/hello")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", output)
	content, err := os.ReadFile(program)
	require.NoError(t, err)
	file, err := os.Create(image)
	require.NoError(t, err)
	defer file.Close()
	w := tar.NewWriter(file)
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "hello", Mode: 0o755, Size: int64(len(content))}))
	_, err = w.Write(content)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return image
}

func (m *machine) testDocker(t *testing.T) {
	m.run(t, "docker info")
	m.run(t, `docker import --change 'ENTRYPOINT ["/hello"]' - hello </dev/disk/by-id/virtio-container`)
	assert.Equal(t, "hello from a container: [one two]", m.run(t, "docker run --rm hello one two"))
}

// testSecondBoot restarts the machine and looks for what was there before.
func (m *machine) testSecondBoot(t *testing.T) {
	before := m.keep(t)
	m.reboot(t)
	assert.Equal(t, before, m.run(t, look))
	assert.Equal(t, "USR-A", m.bootReport(t).Slot)
}

// testDiskIsSound has foreign tools look at the disk after the machine was
// switched off.
func (m *machine) testDiskIsSound(t *testing.T) {
	m.shutdown(t)
	raw := filepath.Join(t.TempDir(), "disk.img")
	output, err := m.lab.tools.Command(t.Context(), "qemu-img", "convert", "-O", "raw", m.Overlay(), raw).CombinedOutput()
	require.NoError(t, err, "%s", output)
	judge(t, "No problems found", "sgdisk", "-v", raw)
	judge(t, "", "e2fsck", "-fn", raw+"?offset="+strconv.Itoa(4857856*512))
}
