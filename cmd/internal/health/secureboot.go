package health

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"slipway/build/authenticode"
	"slipway/build/efivar"
)

const (
	efivars    = "sys/firmware/efi/efivars/"
	maxEFIFile = 1 << 20 // bytes of a variable
)

// startable says nil if the firmware would start a file as stage 1. With Secure
// Boot it does not start what its variables do not vouch for, and then the
// stage 1 that it started this time is better than a newer one.
func (w *watch) startable(stage io.ReaderAt, size int64) error {
	on, err := w.efiVariable("SecureBoot-" + efivar.Global)
	if err != nil || len(on) != 1 || on[0] != 1 {
		return err
	}
	var lists [2][]efivar.Entry
	for i, name := range []string{"db", "dbx"} {
		data, err := w.efiVariable(name + "-" + efivar.Security)
		if err != nil {
			return err
		}
		if lists[i], err = efivar.ParseLists(data); err != nil {
			return fmt.Errorf("variable %s: %w", name, err)
		}
	}
	file, err := authenticode.Read(stage, size)
	if err == nil {
		err = efivar.Startable(file, lists[0], lists[1])
	}
	if err != nil {
		return fmt.Errorf("this version's would not start with Secure Boot: %w", err)
	}
	return nil
}

// efiVariable reads what a variable holds, nothing if there is none. efivarfs
// puts four bytes of attributes before it.
func (w *watch) efiVariable(name string) ([]byte, error) {
	f, err := os.Open(w.path(efivars + name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxEFIFile))
	return data[min(4, len(data)):], err
}
