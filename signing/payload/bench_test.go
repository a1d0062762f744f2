package payload_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"slipway/build/tools/toolstest"
	"slipway/signing/payload"
)

// benchSlot is the slot image to measure with: that of the newest alpha image
// in the checkout, or the file $SLIPWAY_BENCH_SLOT.
func benchSlot(b *testing.B) (*os.File, payload.Image) {
	b.Helper()
	name := os.Getenv("SLIPWAY_BENCH_SLOT")
	if name == "" {
		name = "../../out/alpha/current/usr.img"
	}
	f, err := os.Open(name)
	if err != nil {
		b.Skipf("%v: slipway build makes one", err)
	}
	b.Cleanup(func() { f.Close() })
	h := sha256.New()
	n, err := io.Copy(h, f)
	require.NoError(b, err)
	return f, payload.Image{Size: n, SHA256: [32]byte(h.Sum(nil))}
}

// writeFull writes a full payload of the slot to name and gives its size.
func writeFull(b *testing.B, name string, slot io.ReaderAt, i payload.Image, compress payload.Compressor) int64 {
	b.Helper()
	scratch, err := os.CreateTemp(b.TempDir(), "data")
	require.NoError(b, err)
	defer scratch.Close()
	out, err := os.Create(name)
	require.NoError(b, err)
	defer out.Close()
	_, err = payload.Write(b.Context(), out, &payload.WriteOptions{
		Manifest: payload.Manifest{Info: info(), New: i}, Scratch: scratch,
		Plan:    payload.PlanFull(b.Context(), slot, i.Size, &payload.FullOptions{Compress: compress}),
		Signers: []payload.Signer{newEd25519("one", 1)},
	})
	require.NoError(b, err)
	st, err := out.Stat()
	require.NoError(b, err)
	return st.Size()
}

// BenchmarkFull compares a full payload with zstd -19 over the same slot, and
// measures the development level. It takes some minutes:
//
//	go test -run - -bench Full -benchtime 1x -timeout 30m ./signing/payload
func BenchmarkFull(b *testing.B) {
	slot, image := benchSlot(b)
	dir := b.TempDir()
	programs := toolstest.Tree(b, "payload")
	best := func(ctx context.Context, src []byte) ([]byte, error) {
		cmd := programs.Command(ctx, "zstd", "-19", "--single-thread", "--no-check", "-q", "-c", fmt.Sprintf("--stream-size=%d", len(src)))
		cmd.Stdin = bytes.NewReader(src)
		return cmd.Output()
	}
	fast, err := payload.Fast()
	require.NoError(b, err)
	for b.Loop() {
		start := time.Now()
		quick := writeFull(b, filepath.Join(dir, "fast"), slot, image, fast)
		b.ReportMetric(time.Since(start).Seconds(), "development-wall-s")
		start = time.Now()
		ours := writeFull(b, filepath.Join(dir, "best"), slot, image, best)
		b.ReportMetric(time.Since(start).Seconds(), "release-wall-s")
		whole := filepath.Join(dir, "whole.zst")
		cmd := programs.Command(b.Context(), "zstd", "-19", "--single-thread", "-q", "-f", "-o", whole, slot.Name())
		require.NoError(b, cmd.Run())
		st, err := os.Stat(whole)
		require.NoError(b, err)
		b.ReportMetric(cmd.ProcessState.UserTime().Seconds(), "zstd-cpu-s")
		b.ReportMetric(float64(ours)/1e6, "release-MB")
		b.ReportMetric(float64(quick)/1e6, "development-MB")
		b.ReportMetric(float64(st.Size())/1e6, "zstd-19-MB")
		b.ReportMetric(float64(ours)/float64(st.Size()), "size-ratio")
	}
}

// BenchmarkApply compares streaming a full payload onto a file that has all
// its blocks, with checkpoints and every check, with zstd -dc | dd conv=fsync
// onto another. Both run five times, alternating; the medians count.
func BenchmarkApply(b *testing.B) {
	slot, image := benchSlot(b)
	dir := b.TempDir()
	fast, err := payload.Fast()
	require.NoError(b, err)
	p := filepath.Join(dir, "payload")
	writeFull(b, p, slot, image, fast)
	programs := toolstest.Tree(b, "payload")
	packed := filepath.Join(dir, "packed.zst")
	require.NoError(b, programs.Command(b.Context(), "zstd", "-5", "-q", "-o", packed, slot.Name()).Run())

	target := filepath.Join(dir, "target")
	allocate := func() {
		require.NoError(b, exec.Command("dd", "if=/dev/zero", "of="+target, "bs=1M", "conv=fsync",
			fmt.Sprintf("count=%d", image.Size>>20), "status=none").Run())
	}
	var ours, theirs, memory, cpu, theirCPU []float64
	for b.Loop() {
		for range 5 {
			allocate()
			start := time.Now()
			unpack := programs.Command(b.Context(), "zstd", "-dc", "-q", packed)
			write := exec.Command("dd", "of="+target, "bs=1M", "iflag=fullblock", "conv=fsync,notrunc", "status=none")
			write.Stdin, err = unpack.StdoutPipe()
			require.NoError(b, err)
			require.NoError(b, unpack.Start())
			require.NoError(b, write.Run())
			require.NoError(b, unpack.Wait())
			theirs = append(theirs, time.Since(start).Seconds())
			theirCPU = append(theirCPU, processor(unpack)+processor(write))

			allocate()
			start = time.Now()
			child := exec.Command(os.Args[0], "-test.run", "^TestApplyChild$")
			child.Env = append(os.Environ(), "SLIPWAY_APPLY="+p+":"+target)
			out, err := child.CombinedOutput()
			require.NoError(b, err, "%s", out)
			ours = append(ours, time.Since(start).Seconds())
			var peak float64
			_, err = fmt.Sscanf(string(out), "peak %f", &peak)
			require.NoError(b, err, "%s", out)
			memory, cpu = append(memory, peak), append(cpu, processor(child))
		}
	}
	b.ReportMetric(median(ours), "apply-wall-s")
	b.ReportMetric(median(cpu), "apply-cpu-s")
	b.ReportMetric(median(theirCPU), "zstd-dd-cpu-s")
	b.ReportMetric(median(theirs), "zstd-dd-wall-s")
	b.ReportMetric(median(ours)/median(theirs), "wall-ratio")
	b.ReportMetric(median(cpu)/median(theirCPU), "cpu-ratio")
	b.ReportMetric(slices.Max(memory), "apply-peak-MiB")
}

// processor is the processor time of a finished program, in seconds.
func processor(cmd *exec.Cmd) float64 {
	return (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
}

// peakMiB is the largest resident size of this process. What wait4 says of a
// child would count its parent's memory, too.
func peakMiB(t *testing.T) float64 {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kib float64
	_, err = fmt.Sscanf(rest, "%f kB", &kib)
	require.NoError(t, err)
	return kib / 1024
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}

// TestApplyChild is the other process of BenchmarkApply.
func TestApplyChild(t *testing.T) {
	from, to, ok := strings.Cut(os.Getenv("SLIPWAY_APPLY"), ":")
	if !ok {
		t.Skip("BenchmarkApply runs it")
	}
	p, err := os.Open(from)
	require.NoError(t, err)
	defer p.Close()
	target, err := os.OpenFile(to, os.O_RDWR, 0)
	require.NoError(t, err)
	defer target.Close()
	st, err := target.Stat()
	require.NoError(t, err)
	_, err = payload.Apply(t.Context(), p, &payload.ApplyOptions{
		Keys: []payload.Key{newEd25519("one", 1).key}, Target: target, TargetSize: st.Size(),
		Checkpoint: func(*payload.Checkpoint) error { return nil },
	})
	require.NoError(t, err)
	fmt.Printf("peak %.1f\n", peakMiB(t))
}

// BenchmarkResume says how much of a full payload is fetched again once it goes
// on: after the stream was cut, and after the machine died, at any moment.
//
//	go test -run - -bench Resume -benchtime 1x ./signing/payload
func BenchmarkResume(b *testing.B) {
	slot, image := benchSlot(b)
	dir := b.TempDir()
	fast, err := payload.Fast()
	require.NoError(b, err)
	p := filepath.Join(dir, "payload")
	size := float64(writeFull(b, p, slot, image, fast))
	target, err := os.Create(filepath.Join(dir, "target"))
	require.NoError(b, err)
	defer target.Close()
	require.NoError(b, target.Truncate(image.Size))

	apply := func(r io.Reader, o payload.ApplyOptions) error {
		o.Keys, o.Target, o.TargetSize = []payload.Key{newEd25519("one", 1).key}, target, image.Size
		_, err := payload.Apply(b.Context(), r, &o)
		return err
	}
	for b.Loop() {
		// The machine dies: what came behind the last checkpoint is lost.
		var stored atomic.Int64
		var lost []float64
		f, err := os.Open(p)
		require.NoError(b, err)
		require.NoError(b, apply(&pacedReader{r: f, start: time.Now()}, payload.ApplyOptions{
			Checkpoint: func(c *payload.Checkpoint) error { stored.Store(c.Offset); return nil },
			Progress:   func(done, _ int64) { lost = append(lost, float64(done-stored.Load())) },
		}))
		require.NoError(b, f.Close())
		b.ReportMetric(median(lost)/size*100, "%-again-after-death")
		b.ReportMetric(slices.Max(lost)/size*100, "%-again-after-death-at-most")

		// The stream is cut.
		again := 0.0
		for _, share := range []float64{0.1, 0.37, 0.62, 0.99} {
			cut := int64(size * share)
			f, err := os.Open(p)
			require.NoError(b, err)
			var last *payload.Checkpoint
			err = apply(io.LimitReader(f, cut), payload.ApplyOptions{
				Checkpoint: func(c *payload.Checkpoint) error { last = c; return nil },
			})
			require.Error(b, err)
			require.NotNil(b, last)
			again = max(again, float64(cut-last.Offset))
			require.NoError(b, f.Close())
		}
		b.ReportMetric(again/size*100, "%-again-after-cut-at-most")
	}
}

// pacedReader gives 20 MB a second.
type pacedReader struct {
	r     io.Reader
	start time.Time
	n     int64
}

func (p *pacedReader) Read(b []byte) (int, error) {
	time.Sleep(time.Until(p.start.Add(time.Duration(p.n) * time.Second / 20e6)))
	n, err := p.r.Read(b[:min(len(b), 256<<10)])
	p.n += int64(n)
	return n, err
}
