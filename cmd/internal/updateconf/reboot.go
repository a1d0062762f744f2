package updateconf

import (
	"strings"
	"time"

	"slipway/cmd/internal/locksmith/window"
)

// Ways to restart, values of REBOOT_METHOD.
const (
	// MethodFirmware goes through the machine's firmware, as every restart does.
	MethodFirmware = "firmware"
	// MethodKexec has the running kernel start the next one.
	MethodKexec = "kexec"
)

// DefaultEndpoint is where etcd is looked for: on the machine itself.
const DefaultEndpoint = "http://127.0.0.1:2379"

// Reboot is how a machine restarts into an update.
type Reboot struct {
	// Method is one of the constants above, REBOOT_METHOD.
	Method string
	// Window is when it may restart by itself, nil: at any time. One that makes
	// no sense never comes: a machine must not restart in the middle of a day
	// because somebody mistyped the night. LOCKSMITHD_REBOOT_WINDOW_START and
	// LOCKSMITHD_REBOOT_WINDOW_LENGTH, or the same without LOCKSMITHD_.
	Window *window.Window
	// HolderTimeout is for how long a machine that has the lock may be gone
	// until another one takes it away, 0: for ever. LOCKSMITHD_HOLDER_TIMEOUT.
	HolderTimeout time.Duration
	// Etcd is where the lock is.
	Etcd Etcd
}

// Etcd is where etcd is and who asks, LOCKSMITHD_* of the fields' names.
type Etcd struct {
	// Endpoints are addresses, LOCKSMITHD_ENDPOINT with commas. Configured says
	// that somebody named them.
	Endpoints  []string
	Configured bool
	// Group is the group of machines that share a lock, "" for the one of those
	// that are in none.
	Group string
	// CAFile, CertFile and KeyFile are LOCKSMITHD_ETCD_CAFILE and so on.
	CAFile, CertFile, KeyFile string
	Username, Password        string
}

// readReboot fills in Reboot.
func (c *Config) readReboot(settings map[string]value) {
	r := &c.Reboot
	r.Method = c.choice(settings["REBOOT_METHOD"], MethodFirmware, MethodKexec)
	r.HolderTimeout = c.duration(settings["LOCKSMITHD_HOLDER_TIMEOUT"], 0)
	c.readWindow(either(settings, "LOCKSMITHD_REBOOT_WINDOW_START", "REBOOT_WINDOW_START"),
		either(settings, "LOCKSMITHD_REBOOT_WINDOW_LENGTH", "REBOOT_WINDOW_LENGTH"))
	text := func(key string) string { return settings["LOCKSMITHD_"+key].text }
	r.Etcd = Etcd{
		Endpoints: Endpoints(text("ENDPOINT")), Configured: text("ENDPOINT") != "", Group: text("GROUP"),
		CAFile: text("ETCD_CAFILE"), CertFile: text("ETCD_CERTFILE"), KeyFile: text("ETCD_KEYFILE"),
		Username: text("ETCD_USERNAME"), Password: text("ETCD_PASSWORD"),
	}
}

// Endpoints parts addresses with commas between them; of none it makes the
// default.
func Endpoints(text string) []string {
	var list []string
	for word := range strings.SplitSeq(text, ",") {
		if word = strings.TrimSpace(word); word != "" {
			list = append(list, word)
		}
	}
	if list == nil {
		return []string{DefaultEndpoint}
	}
	return list
}

// either is the first of two settings that is there.
func either(settings map[string]value, key, old string) value {
	if v, ok := settings[key]; ok {
		return v
	}
	return settings[old]
}

// readWindow takes a window if both halves are there and make sense.
func (c *Config) readWindow(start, length value) {
	at := start
	if at.text == "" {
		at = length
	}
	var why string
	switch {
	case start.text == "" && length.text == "":
		return
	case start.text == "":
		why = "has no start"
	case length.text == "":
		why = "has no length"
	default:
		w, err := window.Parse(start.text, length.text)
		if c.Reboot.Window = w; err == nil {
			return
		}
		why = err.Error()
	}
	c.Reboot.Window = new(window.Window)
	c.problem(at.path, at.line, "reboot window: %s; this machine will not restart by itself", why)
}
