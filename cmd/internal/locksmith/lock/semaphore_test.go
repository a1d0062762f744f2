package lock_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/cmd/internal/locksmith/lock"
)

func text(t testing.TB, s *lock.Semaphore) string {
	b, err := json.Marshal(s)
	require.NoError(t, err)
	return string(b)
}

func parse(t testing.TB, document string) *lock.Semaphore {
	s, err := lock.Parse([]byte(document))
	require.NoError(t, err)
	return s
}

// The document is CoreOS's as long as holders say nothing about themselves.
func TestDocument(t *testing.T) {
	assert.Equal(t, `{"semaphore":1,"max":1,"holders":[]}`, text(t, lock.New()))
	for _, c := range []struct{ name, document, want string }{
		{"as CoreOS begins", `{"semaphore":1,"max":1,"holders":null}`, `{"semaphore":1,"max":1,"holders":[]}`},
		{"held by a CoreOS machine", `{"semaphore":0,"max":1,"holders":["b"]}`, `{"semaphore":0,"max":1,"holders":["b"]}`},
		{"in another order", `{"semaphore":0,"max":2,"holders":["b","a"]}`, `{"semaphore":0,"max":2,"holders":["a","b"]}`},
		{"holders twice", `{"semaphore":0,"max":2,"holders":["a","a"]}`, `{"semaphore":1,"max":2,"holders":["a"]}`},
		{"miscounted by hand", `{"semaphore":3,"max":1,"holders":["a"]}`, `{"semaphore":0,"max":1,"holders":["a"]}`},
		{"details of nobody", `{"semaphore":1,"max":1,"holders":[],"details":{"a":{"state":"waiting"}}}`,
			`{"semaphore":1,"max":1,"holders":[]}`},
		{"newer members", `{"semaphore":1,"max":1,"holders":[],"more":[1]}`, `{"semaphore":1,"max":1,"holders":[]}`},
	} {
		assert.Equal(t, c.want, text(t, parse(t, c.document)), c.name)
	}
}

func TestMalformed(t *testing.T) {
	for _, c := range []struct{ document, want string }{
		{"", "lock: malformed: unexpected end of JSON input"},
		{"[]", "lock: malformed: json: cannot unmarshal array into Go value of type lock.document"},
		{`{"holders":[""]}`, "lock: holder of 0 bytes, want 1 to 128"},
		{`{"holders":["a b"]}`, `lock: holder "a b": want visible ASCII characters without a slash`},
		{strings.Repeat(" ", 1<<20+1), "lock: 1048577 bytes, at most 1048576 are read"},
	} {
		_, err := lock.Parse([]byte(c.document))
		assert.EqualError(t, err, c.want)
	}
}

func TestLockAndUnlock(t *testing.T) {
	s := lock.New()
	require.NoError(t, s.Lock("a", lock.Record{State: lock.Waiting}))
	assert.EqualError(t, s.Lock("b", lock.Record{State: lock.Waiting}), "semaphore is at 0")
	assert.Equal(t, `{"semaphore":0,"max":1,"holders":["a"],"details":{"a":{"state":"waiting","since":"0001-01-01T00:00:00Z"}}}`,
		text(t, s))
	assert.ErrorIs(t, s.Unlock("b"), lock.ErrNotHolder)
	assert.EqualError(t, s.Unlock("b"), "holder does not exist")
	require.NoError(t, s.Unlock("a"))
	assert.Equal(t, text(t, lock.New()), text(t, s))
	assert.EqualError(t, s.Lock("a/b", lock.Record{}), `holder "a/b": want visible ASCII characters without a slash`)
}

// coreos/bugs #848: a machine that had the lock could not take it again when the
// semaphore was at 0, and waited for itself.
func TestHolderLocksAgain(t *testing.T) {
	s := lock.New()
	first := time.Date(2026, 11, 28, 14, 0, 0, 0, time.UTC)
	require.NoError(t, s.Lock("a", lock.Record{State: lock.Waiting, Since: first}))
	require.NoError(t, s.Lock("a", lock.Record{State: lock.Restarting, Since: first.Add(time.Hour), To: "1.0.1"}))
	assert.Equal(t, 0, s.Available())
	r, held := s.Holder("a")
	assert.True(t, held)
	assert.Equal(t, lock.Record{State: lock.Restarting, Since: first, To: "1.0.1"}, r, "since the first time")

	s = parse(t, `{"semaphore":-1,"max":0,"holders":["a"]}`)
	require.NoError(t, s.Lock("a", lock.Record{State: lock.Restarting}), "the maximum was lowered since")
}

func TestMaximumBelowHolders(t *testing.T) {
	s := parse(t, `{"semaphore":0,"max":3,"holders":["a","b","c"]}`)
	s.Max = 1
	assert.Contains(t, text(t, s), `{"semaphore":-2,"max":1`)
	assert.EqualError(t, s.Lock("d", lock.Record{}), "semaphore is at -2")
	for _, id := range []string{"a", "b"} {
		require.NoError(t, s.Unlock(id))
		assert.Error(t, s.Lock("d", lock.Record{}))
	}
	require.NoError(t, s.Unlock("c"))
	assert.NoError(t, s.Lock("d", lock.Record{}))
}

// A machine that failed stops those that want to go the same way, though there
// is room for them, and nobody else.
func TestFailureHalts(t *testing.T) {
	s := lock.New()
	s.Max = 3
	require.NoError(t, s.Lock("a", lock.Record{State: lock.Restarting, From: "1.0.0", To: "1.0.1"}))
	require.NoError(t, s.Lock("b", lock.Record{State: lock.Waiting, To: "1.0.1"}))
	r, _ := s.Holder("a")
	r.State, r.Reason = lock.Failed, "runs 1.0.0 again"
	require.NoError(t, s.Amend("a", r))

	assert.EqualError(t, s.Lock("c", lock.Record{State: lock.Waiting, To: "1.0.1"}), "halted by a: runs 1.0.0 again")
	assert.Error(t, s.Lock("c", lock.Record{State: lock.Waiting}), "nobody knows where to")
	assert.Error(t, s.Lock("b", lock.Record{State: lock.Restarting, To: "1.0.1"}), "not even who waits already")
	assert.NoError(t, s.Lock("a", lock.Record{State: lock.Restarting, To: "1.0.1"}), "itself tries again")
	require.NoError(t, s.Amend("a", r))
	assert.NoError(t, s.Lock("c", lock.Record{State: lock.Waiting, To: "1.0.2"}), "a better version")
	require.NoError(t, s.Unlock("c"))
	assert.NoError(t, s.Lock("c", lock.Record{State: lock.Manual}), "a person")
}

// What somebody had the lock for comes back when another attempt is called off.
func TestRelease(t *testing.T) {
	s := lock.New()
	failed := lock.Record{State: lock.Failed, Reason: "x", To: "1.0.1"}
	require.NoError(t, s.Lock("a", failed))
	require.NoError(t, s.Lock("a", lock.Record{State: lock.Waiting, To: "1.0.2"}))
	require.NoError(t, s.Lock("a", lock.Record{State: lock.Restarting, To: "1.0.2"}))
	s = parse(t, text(t, s))
	require.NoError(t, s.Release("a"))
	r, _ := s.Holder("a")
	assert.Equal(t, failed, r)
	require.NoError(t, s.Release("a"))
	assert.Empty(t, s.Holders())
	assert.ErrorIs(t, s.Release("a"), lock.ErrNotHolder)
	assert.ErrorIs(t, s.Amend("a", failed), lock.ErrNotHolder)
}

func TestGone(t *testing.T) {
	s := lock.New()
	s.Max = 9
	for id, state := range map[string]lock.State{
		"a": lock.Waiting, "b": lock.Restarting, "c": lock.Failed, "d": lock.Manual,
		"there": lock.Waiting, "there2": lock.Restarting,
	} {
		require.NoError(t, s.Lock(id, lock.Record{State: state, To: id}))
	}
	v := &lock.View{Semaphore: s, Present: map[string]lock.Presence{"there": {}, "there2": {}, "x": {}}}
	away := func(d time.Duration) func(string) time.Duration { return func(string) time.Duration { return d } }
	assert.Equal(t, []string{"a"}, v.Gone(0, away(1000*time.Hour)))
	assert.Equal(t, []string{"a"}, v.Gone(time.Hour, away(time.Hour-1)))
	assert.Equal(t, []string{"a", "b"}, v.Gone(time.Hour, away(time.Hour)))
}

// Whatever is done in whatever order, nobody becomes a holder beyond the
// maximum, and the document says the same after it was written and read.
func TestNeverMoreThanTheMaximum(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		s := lock.New()
		for range 100 {
			id := fmt.Sprintf("m%d", random.IntN(8))
			before := s.Holders()
			switch random.IntN(4) {
			case 0:
				_ = s.Unlock(id)
			case 1:
				s.Max = random.IntN(4)
			default:
				full := len(before) >= s.Max
				err := s.Lock(id, lock.Record{State: lock.Waiting})
				_, refused := errors.AsType[*lock.FullError](err)
				assert.Equal(t, full && !slices.Contains(before, id), refused)
			}
			if len(s.Holders()) > len(before) {
				require.LessOrEqual(t, len(s.Holders()), s.Max)
			}
			s = parse(t, text(t, s))
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"semaphore":0,"max":1,"holders":["a"],"details":{"a":{"state":"failed","before":{"state":"manual"}}}}`))
	f.Add([]byte(`{"semaphore":1,"max":-9223372036854775808,"holders":null,"details":{"a":null}}`))
	f.Add([]byte(`{"holders":["a","a"]}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		s, err := lock.Parse(document)
		if err != nil {
			return
		}
		again := parse(t, text(t, s))
		assert.Equal(t, text(t, s), text(t, again))
		for _, id := range s.Holders() {
			assert.NoError(t, s.Unlock(id))
		}
		assert.Equal(t, s.Max, s.Available())
	})
}
