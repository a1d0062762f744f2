package updateengine_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/download"
	"slipway/cmd/internal/slots"
	"slipway/cmd/internal/updatebus"
	"slipway/cmd/internal/updateengine"
	"slipway/partitions"
	"slipway/signing/footer"
	"slipway/signing/key"
	"slipway/signing/keyset"
	"slipway/signing/omaha"
	"slipway/signing/payload"
)

const (
	partA, partB = 3, 4
	slotSize     = 4 << 20
	oldVersion   = "4888.0.0"
	newVersion   = "4889.0.0"
)

// signer signs as a release build does.
type signer struct {
	id      string
	private ed25519.PrivateKey
}

func newSigner(t testing.TB, seed byte) (signer, key.Key) {
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
	k, err := key.New(private.Public())
	require.NoError(t, err)
	return signer{k.ID, private}, k
}

func (s signer) KeyID() string      { return s.id }
func (s signer) Algorithm() string  { return key.Ed25519 }
func (s signer) SignatureSize() int { return ed25519.SignatureSize }
func (s signer) SignDigest(_ context.Context, digest [32]byte) ([]byte, error) {
	return ed25519.Sign(s.private, digest[:]), nil
}

// machine is a machine in a directory: a disk with two slots, what the boot
// engine leaves, the keys in /usr, and an update server.
type machine struct {
	t      testing.TB
	root   string
	layout partitions.Layout
	signer signer
	log    bytes.Buffer
	clock  time.Time
	boots  int
	engine *updateengine.Engine

	server *httptest.Server
	offers func(*omaha.App) *update // what the server offers
	serve  func(w http.ResponseWriter, r *http.Request, content []byte)

	mu       sync.Mutex
	files    map[string][]byte
	requests []*omaha.App
	statuses []updatebus.Status
	served   int // bytes of payloads
}

// update is what a server offers.
type update struct {
	version string
	content []byte
	delta   bool
	size    int64 // if not that of the content
}

func newMachine(t testing.TB) *machine {
	m := &machine{
		t: t, root: t.TempDir(), clock: time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC), files: map[string][]byte{},
		offers: func(*omaha.App) *update { return nil },
	}
	m.serve = func(w http.ResponseWriter, r *http.Request, content []byte) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	}
	m.signer, _ = newSigner(t, 1)
	m.layout = partitions.Layout{
		SectorSize: 512, DiskSectors: 65536, DiskUUID: uuid.New(),
		Partitions: []partitions.Partition{
			{Number: partA, Label: "USR-A", Type: uuid.MustParse(partitions.TypeUSR), UUID: uuid.New(), Start: 2048,
				Size: slotSize / 512, Attributes: partitions.Slot(1, 0, true)},
			{Number: partB, Label: "USR-B", Type: uuid.MustParse(partitions.TypeUSR), UUID: uuid.New(), Start: 32768,
				Size: slotSize / 512},
		},
	}
	m.file("dev/vda", nil)
	disk, err := os.OpenFile(m.path("dev/vda"), os.O_RDWR, 0)
	require.NoError(t, err)
	defer disk.Close()
	require.NoError(t, disk.Truncate(m.layout.DiskSize()))
	require.NoError(t, partitions.Create(disk, m.layout.DiskSize(), m.layout))
	m.file("dev/vda3", m.slot(oldVersion))
	m.file("dev/vda4", make([]byte, slotSize))
	m.file("etc/machine-id", []byte("0123456789abcdef0123456789abcdef\n"))
	m.file("usr/lib/os-release", []byte("ID=slipway\n"))
	m.file("oem/oem-release", []byte("ID=qemu\nVERSION_ID=0.0.1\n"))
	built := m.clock.Add(-24 * time.Hour)
	require.NoError(t, os.Chtimes(m.path("usr/lib/os-release"), built, built))
	m.keys()
	m.server = httptest.NewServer(http.HandlerFunc(m.answer))
	t.Cleanup(m.server.Close)
	m.config("")
	m.boot(partA)
	return m
}

// keys are the keys that /usr brings, for everything.
func (m *machine) keys(list ...key.Key) {
	m.keysWith(func(*keyset.Entry) {}, list...)
}

// keysWith are the machine's own key and others, changed.
func (m *machine) keysWith(change func(*keyset.Entry), list ...key.Key) {
	set := keyset.New()
	_, own := newSigner(m.t, 1)
	for _, k := range append([]key.Key{own}, list...) {
		e := keyset.NewEntry(k, keyset.Payload, keyset.Image)
		change(&e)
		set.Keys = append(set.Keys, e)
	}
	f, err := keyset.NewFile(set)
	require.NoError(m.t, err)
	text, err := f.Encode()
	require.NoError(m.t, err)
	m.file("usr/"+keyset.Path, text)
	if m.engine != nil {
		m.restart()
	}
}

// config writes update.conf, with more lines.
func (m *machine) config(lines string) {
	m.file("etc/coreos/update.conf", []byte("GROUP=alpha\nSERVER="+m.server.URL+"/v1/update/\n"+lines))
}

func (m *machine) path(name string) string { return filepath.Join(m.root, name) }

func (m *machine) file(name string, content []byte) {
	m.t.Helper()
	require.NoError(m.t, os.MkdirAll(filepath.Dir(m.path(name)), 0o755))
	require.NoError(m.t, os.WriteFile(m.path(name), content, 0o644))
}

func hash(version string) string {
	sum := sha256.Sum256([]byte(version))
	return hex.EncodeToString(sum[:])
}

// slot is the content of a slot. Half of it is the same in every version.
func (m *machine) slot(version string, change ...func(*footer.Footer)) []byte {
	b := make([]byte, slotSize)
	fill := rand.NewChaCha8([32]byte{1})
	_, _ = fill.Read(b[:slotSize/2])
	fill = rand.NewChaCha8([32]byte([]byte(hash(version))[:32]))
	_, _ = fill.Read(b[slotSize/2 : slotSize-footer.Size])
	foot := &footer.Footer{
		Format: footer.Format, Name: "slipway", Version: version, Architecture: "amd64",
		FSType: "erofs", FSSize: 4096, HashOffset: 4096, HashSize: 4096, BlockSize: 4096,
		RootHash: hash(version), BootID: hash(version),
		UKI: footer.UKI{Path: "lib/slipway/boot.efi", Size: 4096, SHA256: hash(version)},
	}
	for _, f := range change {
		f(foot)
	}
	w := &memory{b}
	require.NoError(m.t, footer.Write(m.t.Context(), w, slotSize, foot, m.signer))
	return b
}

// memory is a slot in memory.
type memory struct{ b []byte }

func (w *memory) WriteAt(p []byte, off int64) (int, error) { return copy(w.b[off:], p), nil }
func (w *memory) ReadAt(p []byte, off int64) (int, error)  { return copy(p, w.b[off:]), nil }

// payloadOf packs the slot of a version, in pieces of 64 KiB.
func (m *machine) payloadOf(slot []byte, info payload.Info, signers ...payload.Signer) []byte {
	if len(signers) == 0 {
		signers = []payload.Signer{m.signer}
	}
	manifest := payload.Manifest{Info: info, New: payload.Image{Size: slotSize, SHA256: sha256.Sum256(slot)}}
	if info.SourceVersion != "" {
		old := m.slot(info.SourceVersion)
		manifest.Old = &payload.Image{Size: slotSize, SHA256: sha256.Sum256(old)}
	}
	plan := func(yield func(payload.Operation, error) bool) {
		const piece = 64 << 10
		for at := 0; at < slotSize; at += piece {
			dst := []payload.Extent{{Start: uint64(at / payload.BlockSize), Blocks: piece / payload.BlockSize}}
			op := payload.Operation{Type: payload.Replace, Dst: dst, Data: slot[at : at+piece]}
			if info.SourceVersion != "" && at < slotSize/2 {
				op = payload.Operation{
					Type: payload.SourceCopy, Src: dst, Dst: dst,
					SrcSHA256: sha256.Sum256(m.slot(info.SourceVersion)[at : at+piece]),
				}
			}
			if !yield(op, nil) {
				return
			}
		}
	}
	var out bytes.Buffer
	_, err := payload.Write(m.t.Context(), &out, &payload.WriteOptions{
		Manifest: manifest, Plan: plan, Signers: signers, Scratch: new(scratch),
	})
	require.NoError(m.t, err)
	return out.Bytes()
}

// scratch is memory that grows.
type scratch struct{ bytes.Buffer }

func (s *scratch) ReadAt(p []byte, off int64) (int, error) {
	return bytes.NewReader(s.Bytes()).ReadAt(p, off)
}

func info(version string) payload.Info {
	return payload.Info{Name: "slipway", Version: version, Architecture: "amd64", RootHash: hash(version)}
}

// full is the full payload of a version.
func (m *machine) full(version string) []byte { return m.payloadOf(m.slot(version), info(version)) }

// boot starts the machine from a slot.
func (m *machine) boot(number int) {
	m.boots++
	label := map[int]string{partA: "USR-A", partB: "USR-B"}[number]
	node, err := os.ReadFile(m.path(fmt.Sprintf("dev/vda%d", number)))
	require.NoError(m.t, err)
	foot, _, err := footer.Inspect(bytes.NewReader(node), slotSize)
	require.NoError(m.t, err)
	text, err := json.Marshal(map[string]any{
		"disk": "/dev/vda", "slot": label, "partition": number, "version": foot.Version, "root_hash": foot.RootHash,
	})
	require.NoError(m.t, err)
	m.file("run/slipway/boot.json", text)
	m.file("proc/sys/kernel/random/boot_id", fmt.Appendf(nil, "boot-%d\n", m.boots))
	m.restart()
}

// restart starts the engine anew.
func (m *machine) restart() {
	engine, err := updateengine.New(&updateengine.Env{
		Log: &m.log, Random: func() float64 { return 0.5 }, Client: download.NewClient(),
		Now: func() time.Time { m.clock = m.clock.Add(time.Second); return m.clock },
		Machine: slots.Machine{Root: m.root, Mounted: func(string) (string, error) {
			b, err := slots.Machine{Root: m.root}.Boot()
			return fmt.Sprintf("/dev/vda%d", b.Partition), err
		}},
		Sleep:    func(_ context.Context, d time.Duration) { m.clock = m.clock.Add(d) },
		Patience: download.Patience{Failures: 3, PerURL: 3, First: time.Second, Last: time.Second, Window: time.Minute},
	})
	require.NoError(m.t, err)
	engine.Changed = func(s updatebus.Status) { m.statuses = append(m.statuses, s) }
	m.engine = engine
}

// answer is the update server.
func (m *machine) answer(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		m.mu.Lock()
		content := m.files[r.URL.Path]
		m.mu.Unlock()
		m.serve(&counted{w, m}, r, content)
		return
	}
	q, err := omaha.ReadRequest(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	app := q.Apps[0]
	m.requests = append(m.requests, app)
	answer := &omaha.AppResponse{ID: app.ID, Status: omaha.StatusOK}
	if app.UpdateCheck != nil {
		answer.UpdateCheck = m.offer(app)
	}
	_ = omaha.Encode(w, &omaha.Response{Protocol: omaha.Protocol, Apps: []*omaha.AppResponse{answer}})
}

func (m *machine) offer(app *omaha.App) *omaha.UpdateCheckResponse {
	u := m.offers(app)
	if u == nil {
		return &omaha.UpdateCheckResponse{Status: omaha.StatusNoUpdate}
	}
	name := fmt.Sprintf("%s-%t.payload", u.version, u.delta)
	m.mu.Lock()
	m.files["/files/"+name] = u.content
	m.mu.Unlock()
	if u.size == 0 {
		u.size = int64(len(u.content))
	}
	sum := sha256.Sum256(u.content)
	return &omaha.UpdateCheckResponse{
		Status: omaha.StatusOK, URLs: []*omaha.URL{{CodeBase: m.server.URL + "/files/"}},
		Manifests: []*omaha.Manifest{{
			Version:  u.version,
			Packages: []*omaha.Package{{Name: name, Size: u.size, Required: true}},
			Actions: []*omaha.Action{{
				Event: "postinstall", SHA256: base64.StdEncoding.EncodeToString(sum[:]), IsDelta: u.delta,
			}},
		}},
	}
}

// counted counts what is served.
type counted struct {
	http.ResponseWriter
	m *machine
}

func (c *counted) Write(p []byte) (int, error) {
	c.m.served += len(p)
	return c.ResponseWriter.Write(p)
}

func (c *counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// attempt has the engine ask once, and returns what it said.
func (m *machine) attempt(forced bool) string {
	m.t.Helper()
	m.log.Reset()
	m.statuses, m.requests = nil, nil
	m.engine.Attempt(m.t.Context(), forced)
	return m.log.String()
}

// table is both slots as cgpt shows them.
func (m *machine) table() string {
	var lines []string
	for _, p := range m.read().Slots() {
		lines = append(lines, p.Label+" "+p.Attributes.String())
	}
	return strings.Join(lines, "\n")
}

func (m *machine) read() *partitions.Table {
	f, err := os.Open(m.path("dev/vda"))
	require.NoError(m.t, err)
	defer f.Close()
	t, err := partitions.Read(f, m.layout.DiskSize(), 512)
	require.NoError(m.t, err)
	return t
}

// set changes the attributes of a slot, as the boot engine and the health
// program do.
func (m *machine) set(number, priority, tries int, successful bool) {
	f, err := os.OpenFile(m.path("dev/vda"), os.O_RDWR, 0)
	require.NoError(m.t, err)
	defer f.Close()
	require.NoError(m.t, partitions.Update(f, m.read(), partitions.Change{
		Attributes: map[int]partitions.Attributes{number: partitions.Slot(priority, tries, successful)}, Force: true,
	}))
}

// events are what the server was told, in short.
func (m *machine) events() []string {
	var list []string
	for _, app := range m.requests {
		for _, e := range app.Events {
			text := fmt.Sprintf("%d/%d", e.Type, e.Result)
			if e.ErrorCode != 0 {
				text += fmt.Sprintf(" code %d", e.ErrorCode)
			}
			if e.PreviousVersion != "" {
				text += " from " + e.PreviousVersion
			}
			list = append(list, text)
		}
	}
	return list
}

// operations are those of the statuses that were told, without repetitions.
func (m *machine) operations() []string {
	var list []string
	for _, s := range m.statuses {
		list = append(list, strings.TrimPrefix(string(s.Operation), "UPDATE_STATUS_"))
	}
	return slices.Compact(list)
}
