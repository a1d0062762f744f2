package main

import (
	"errors"
	"os"
	"path/filepath"
	"time"

	"slipway/build/efivar"
	"slipway/qemu-tests/vm"
)

// enrolledVariables writes the UEFI variables of a machine that starts only
// what these certificates vouch for, and returns their file, which is in a
// directory of its own.
func enrolledVariables(tools vm.Tools, files []string) (name string, err error) {
	certificates, err := readCertificates(files)
	if err != nil {
		return "", err
	}
	image, err := os.ReadFile(tools.Path("usr/share/OVMF/OVMF_VARS_4M.fd"))
	if err != nil {
		return "", err
	}
	store, err := efivar.OpenStore(image)
	if err != nil {
		return "", err
	}
	made := time.Date(2013, 7, 1, 0, 0, 0, 0, time.UTC) // so that any update is younger
	for _, variable := range []string{"db", "KEK", "PK"} {
		list := certificates
		if variable == "PK" {
			list = list[:1] // there is one platform key
		}
		v, err := efivar.SecureBoot(variable, efivar.Certificates(listOwner(), list...), made)
		if err != nil {
			return "", err
		}
		if err := store.Add(*v); err != nil {
			return "", err
		}
	}
	dir, err := os.MkdirTemp("", "slipway-run-")
	if err != nil {
		return "", err
	}
	name = filepath.Join(dir, "vars.fd")
	if err := os.WriteFile(name, store.Bytes(), 0o600); err != nil {
		return "", errors.Join(err, os.RemoveAll(dir))
	}
	return name, nil
}
