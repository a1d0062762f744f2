package health

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// Systemd is the service manager, as far as it is needed here.
type Systemd interface {
	// Units says how units are. One that does not exist is returned too.
	Units(ctx context.Context, names ...string) ([]Unit, error)
	// Start queues the start of units and does not wait for it.
	Start(ctx context.Context, names ...string) error
	// Reboot restarts the machine: in order, with force 1 without stopping
	// services, with 2 at once.
	Reboot(ctx context.Context, force int) error
}

// Unit is a unit of systemd with the properties of the same names
// (org.freedesktop.systemd1(5)). Times count from the start of the kernel.
type Unit struct {
	ID          string
	LoadState   string
	ActiveState string
	SubState    string
	Result      string // "" for units that have none
	Type        string // of a service
	Status      int    // exit status or signal of the last main process
	Restarts    int
	Queued      bool // a job for it waits or runs
	Requires    []string
	Entered     time.Duration // when it became active, 0 if it never was
	Exited      time.Duration // when the main process of it ended, 0 if none did
	// Checked is when its conditions were looked at, 0 if never; Condition is
	// what came out.
	Checked   time.Duration
	Condition bool
}

func properties() string {
	return "Id,LoadState,ActiveState,SubState,Result,Type,ExecMainStatus,NRestarts,Job,Requires," +
		"ActiveEnterTimestampMonotonic,ExecMainExitTimestampMonotonic," +
		"ConditionTimestampMonotonic,ConditionResult"
}

// Systemctl is systemd through its program systemctl.
type Systemctl struct{}

// Units implements Systemd.
func (Systemctl) Units(ctx context.Context, names ...string) ([]Unit, error) {
	out, err := systemctl(ctx, append([]string{"show", "--property=" + properties(), "--"}, names...)...)
	if err != nil {
		return nil, err
	}
	return parseUnits(out), nil
}

// Start implements Systemd.
func (Systemctl) Start(ctx context.Context, names ...string) error {
	_, err := systemctl(ctx, append([]string{"start", "--no-block", "--"}, names...)...)
	return err
}

// Reboot implements Systemd.
func (Systemctl) Reboot(ctx context.Context, force int) error {
	args := []string{"reboot", "--no-block"}
	for range force {
		args = append(args, "--force")
	}
	_, err := systemctl(ctx, args...)
	return err
}

// patience is how long systemctl may take for an answer.
const patience = 30 * time.Second

func systemctl(ctx context.Context, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var out, complaint bytes.Buffer
	cmd := exec.CommandContext(ctx, "systemctl", args...)
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("systemctl %s: %w: %s", args[0], err, bytes.TrimSpace(complaint.Bytes()))
	}
	return out.Bytes(), nil
}

// parseUnits reads the output of "systemctl show": lines KEY=VALUE, an empty
// line between two units.
func parseUnits(text []byte) []Unit {
	var list []Unit
	for _, block := range strings.Split(string(text), "\n\n") {
		var u Unit
		for _, line := range strings.Split(block, "\n") {
			key, value, _ := strings.Cut(line, "=")
			u.set(key, value)
		}
		if u.ID != "" {
			list = append(list, u)
		}
	}
	return list
}

func (u *Unit) set(key, value string) {
	number := func() int {
		n, _ := strconv.Atoi(value) // 0 for what is not set
		return n
	}
	since := func() time.Duration {
		n, _ := strconv.ParseInt(value, 10, 53)
		return time.Duration(n) * time.Microsecond
	}
	switch key {
	case "Id":
		u.ID = value
	case "LoadState":
		u.LoadState = value
	case "ActiveState":
		u.ActiveState = value
	case "SubState":
		u.SubState = value
	case "Result":
		u.Result = value
	case "Type":
		u.Type = value
	case "ExecMainStatus":
		u.Status = number()
	case "NRestarts":
		u.Restarts = number()
	case "Job":
		u.Queued = value != "" && value != "0"
	case "Requires":
		u.Requires = strings.Fields(value)
	case "ActiveEnterTimestampMonotonic":
		u.Entered = since()
	case "ExecMainExitTimestampMonotonic":
		u.Exited = since()
	case "ConditionTimestampMonotonic":
		u.Checked = since()
	case "ConditionResult":
		u.Condition = value == "yes"
	}
}
