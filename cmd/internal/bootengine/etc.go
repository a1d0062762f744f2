package bootengine

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// lowerEtc is the image's /etc, inside the slot.
	lowerEtc = "usr/share/slipway/etc"
	// etcWork is the overlay's own directory, beside the upper one.
	etcWork = ".etc-work"
)

// makeSkeleton makes the directories and links of a root file system that are
// not there. What is there stays as it is.
func makeSkeleton(root string) error {
	for _, d := range []struct {
		name string
		mode os.FileMode
	}{
		{"usr", 0o755}, {"dev", 0o755}, {"proc", 0o555}, {"sys", 0o555}, {"run", 0o755},
		{"tmp", 0o777 | os.ModeSticky}, {"etc", 0o755}, {"var", 0o755}, {"home", 0o755},
		{"root", 0o700}, {"mnt", 0o755}, {"opt", 0o755}, {"srv", 0o755}, {"media", 0o755},
		{"boot", 0o755}, {"oem", 0o755}, {etcWork, 0o700},
	} {
		path := filepath.Join(root, d.name)
		err := os.Mkdir(path, d.mode.Perm())
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := os.Chmod(path, d.mode); err != nil {
			return err
		}
	}
	for _, name := range []string{"bin", "sbin", "lib", "lib64"} {
		err := os.Symlink("usr/"+name, filepath.Join(root, name))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// ensureMachineID gives a machine its identity at its first boot. With it in
// place systemd never takes a boot for a first one. random is read only then.
func ensureMachineID(etc string, random io.Reader) error {
	path := filepath.Join(etc, "machine-id")
	text, err := os.ReadFile(path)
	if err == nil && validMachineID(string(text)) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	id := make([]byte, 16)
	if _, err := io.ReadFull(random, id); err != nil {
		return fmt.Errorf("machine id: %w", err)
	}
	// A version 4 UUID without dashes: machine-id(5).
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	aside := path + ".new"
	if err := writeSynced(aside, hex.EncodeToString(id)+"\n"); err != nil {
		return fmt.Errorf("machine id: %w", err)
	}
	return os.Rename(aside, path)
}

func validMachineID(text string) bool {
	b, err := hex.DecodeString(strings.TrimSpace(text))
	return err == nil && len(b) == 16
}

func writeSynced(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o444)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// mountEtc lays the machine's own /etc over the image's. It is called inside
// the new root, so that the options read right in /proc/mounts. The features
// that are off would tie the upper layer to one version of the lower one.
func mountEtc() error {
	options := fmt.Sprintf("lowerdir=/%s,upperdir=/etc,workdir=/%s,index=off,metacopy=off,redirect_dir=off",
		lowerEtc, etcWork)
	if err := unix.Mount("overlay", "/etc", "overlay", 0, options); err != nil {
		return fmt.Errorf("mount /etc: %w", err)
	}
	return nil
}
