package updateengine

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"slipway/signing/footer"
	"slipway/signing/key"
	"slipway/signing/keyset"
	"slipway/signing/omaha"
	"slipway/signing/payload"
)

// appID is what CoreOS called itself in Omaha, and its machines ask for.
const appID = "{e96281a6-d1af-4bde-9a0a-97b76e56dc57}"

const (
	releasePath   = "usr/share/coreos/release"
	osReleasePath = "usr/lib/os-release"
	oemPath       = "oem/oem-release"
	machineIDPath = "etc/machine-id"

	maxSmallFile = 256 << 10
)

// host is what the machine is.
type host struct {
	bootID, machineID string
	name              string // of the operating system
	architecture      string // Debian's word
	board             string // "amd64-usr"
	floor             string // oldest version that may replace the running one; see footer.Footer
	appID             string
	oem, oemVersion   string

	keys      *keyset.Set
	imageKeys []key.Key
	built     time.Time // no earlier than this is it now
}

// readHost reads what does not change while the machine runs.
func (g *Engine) readHost() (*host, error) {
	root := g.root()
	h := &host{
		bootID: word(root, bootIDPath), machineID: word(root, machineIDPath), appID: appID,
	}
	release := settings(root, releasePath)
	if id := release["COREOS_RELEASE_APPID"]; id != "" {
		h.appID = id
	}
	h.name = settings(root, osReleasePath)["ID"]
	oem := settings(root, oemPath)
	h.oem, h.oemVersion = oem["ID"], oem["VERSION_ID"]
	if err := g.readSlot(h); err != nil {
		return nil, err
	}
	return h, nil
}

// readSlot reads the keys out of the verified /usr, and from the running
// slot's footer what the slot is.
func (g *Engine) readSlot(h *host) error {
	var err error
	if h.keys, h.built, err = g.Machine.Keys(); err != nil {
		return err
	}
	h.imageKeys = h.keys.Trusted(keyset.Image, h.built)
	d, err := g.Machine.Open(g.boot, false)
	if err != nil {
		return err
	}
	defer d.Close()
	p, err := d.Running(g.boot)
	if err != nil {
		return err
	}
	node, err := os.Open(d.Node(p.Number))
	if err != nil {
		return err
	}
	defer node.Close()
	foot, err := footer.Read(node, d.Size(p), h.imageKeys)
	if err != nil {
		return fmt.Errorf("%s: %w", p.Label, err)
	}
	h.architecture, h.board, h.floor = foot.Architecture, foot.Architecture+"-usr", foot.RollbackFloor
	if h.name == "" {
		h.name = foot.Name
	}
	return nil
}

// time is the time of day as far as it can be right: a machine whose clock is
// in the past must not take its keys for not yet valid.
func (g *Engine) time() time.Time {
	if now := g.Now(); now.After(g.host.built) {
		return now
	}
	return g.host.built
}

// payloadKeys are the keys that may vouch for a payload, and those that may not
// any more, with the reason.
func (h *host) payloadKeys(now time.Time) []payload.Key {
	var list []payload.Key
	for i := range h.keys.Keys {
		e := &h.keys.Keys[i]
		if !e.Has(keyset.Payload) {
			continue
		}
		k := payload.Key{ID: e.ID, Verify: e.Key().VerifyDigest}
		if err := e.Check(now); err != nil {
			k.Refused = strings.TrimPrefix(err.Error(), "key "+e.ID+": ")
		}
		list = append(list, k)
	}
	return list
}

// app is how the machine presents itself to a server.
func (g *Engine) app(group, alias string) *omaha.App {
	h := g.host
	return &omaha.App{
		ID: h.appID, Version: g.boot.Version, Track: group, BootID: "{" + h.bootID + "}",
		OEM: h.oem, OEMVersion: h.oemVersion, AlephVersion: g.state.Aleph,
		MachineID: h.machineID, MachineAlias: alias, Lang: "en-US", Board: h.board,
	}
}

// settings reads a file of KEY=VALUE lines such as os-release; one that is not
// there has none.
func settings(root fs.FS, name string) map[string]string {
	text, err := readSmall(root, name)
	if err != nil {
		return nil
	}
	values := map[string]string{}
	lines := bufio.NewScanner(strings.NewReader(string(text)))
	for lines.Scan() {
		if name, value, ok := strings.Cut(strings.TrimSpace(lines.Text()), "="); ok {
			values[name] = strings.Trim(value, `"'`)
		}
	}
	return values
}

// word is the content of a file of one word, "" if there is none.
func word(root fs.FS, name string) string {
	text, err := readSmall(root, name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

func readSmall(root fs.FS, name string) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxSmallFile))
}
