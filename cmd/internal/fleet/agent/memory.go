package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"slipway/cmd/internal/fleet/unit"
)

// memory is what an agent has to know when it is started again.
type memory struct {
	Cluster string // id of the registry the units are of
	Lease   int64  // the machine's
	Units   map[string]*remembered
}

// remembered is a unit that the agent has loaded.
type remembered struct {
	UID   string
	Hash  string
	State unit.State
}

// maxMemory bounds the file of the memory, in bytes.
const maxMemory = 16 << 20

func (a *Agent) memoryPath() string { return filepath.Clean(a.UnitsDir) + ".json" }

func (a *Agent) unitPath(name string) string { return filepath.Join(a.UnitsDir, name) }

// save keeps the memory.
func (a *Agent) save() error {
	text, err := json.MarshalIndent(a.memory, "", "  ")
	if err != nil {
		return err
	}
	if err := writeAside(a.memoryPath(), append(text, '\n')); err != nil {
		a.Log.Error("state is not kept", "error", err)
		return err
	}
	return nil
}

// recall reads the memory and compares it with the unit files that are there:
// a file without a memory is remembered by what it holds and by what systemd
// says; a memory without a file is none.
func (a *Agent) recall(ctx context.Context) (*memory, error) {
	if err := os.MkdirAll(a.UnitsDir, 0o755); err != nil {
		return nil, err
	}
	m, err := a.readMemory()
	if err != nil {
		a.Log.Error("state of the agent before is lost", "error", err)
		m = &memory{}
	}
	entries, err := os.ReadDir(a.UnitsDir)
	if err != nil {
		return nil, err
	}
	units := map[string]*remembered{}
	for _, e := range entries {
		name := e.Name()
		if unit.CheckName(name) != nil {
			continue // a file that was being written
		}
		u, err := a.recallUnit(ctx, name, m.Units[name])
		if err != nil {
			a.Log.Error("unit file is left alone", "unit", name, "error", err)
			continue
		}
		units[name] = u
	}
	m.Units = units
	return m, nil
}

func (a *Agent) readMemory() (*memory, error) {
	f, err := os.Open(a.memoryPath())
	if errors.Is(err, fs.ErrNotExist) {
		return &memory{}, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m := &memory{}
	if err := json.NewDecoder(io.LimitReader(f, maxMemory)).Decode(m); err != nil {
		return nil, fmt.Errorf("%s: %w", a.memoryPath(), err)
	}
	return m, nil
}

func (a *Agent) recallUnit(ctx context.Context, name string, old *remembered) (*remembered, error) {
	text, err := os.ReadFile(a.unitPath(name))
	if err != nil {
		return nil, err
	}
	f, err := unit.Parse(text)
	if err != nil {
		return nil, err
	}
	hash := f.Hash()
	if old != nil && old.Hash == hash {
		return old, nil
	}
	status, err := a.Systemd.Status(ctx, []string{name})
	if err != nil {
		return nil, err
	}
	u := &remembered{Hash: hash, State: unit.Loaded}
	switch status[name].Active {
	case "active", "activating", "reloading":
		u.State = unit.Launched
	}
	return u, nil
}

// writeAside writes a file that is whole or not there.
func writeAside(name string, text []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), ".new-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	return err
}
