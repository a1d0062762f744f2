package authenticode_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"slipway/build/authenticode"
)

// keySigner is a Signer in ten lines. Without randomness ECDSA takes its nonce
// from key and digest.
type keySigner struct {
	crypto.Signer
	err error
}

func (k keySigner) SignDigest(_ context.Context, digest [32]byte) ([]byte, error) {
	if k.err != nil {
		return nil, k.err
	}
	return k.Sign(nil, digest[:], crypto.SHA256)
}

// testKey reads a test key. Making RSA keys takes a while.
func testKey(t testing.TB, name string) crypto.Signer {
	text, err := os.ReadFile("testdata/" + name + ".pem")
	require.NoError(t, err)
	block, _ := pem.Decode(text)
	require.NotNil(t, block)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	require.NoError(t, err)
	return key.(crypto.Signer)
}

// ecdsaKey is the private key with that number.
func ecdsaKey(t testing.TB, curve elliptic.Curve, number int64) crypto.Signer {
	raw := make([]byte, (curve.Params().BitSize+7)/8)
	key, err := ecdsa.ParseRawPrivateKey(curve, big.NewInt(number).FillBytes(raw))
	require.NoError(t, err)
	return key
}

func identity(t testing.TB, key crypto.Signer, name string) authenticode.Identity {
	s := keySigner{Signer: key}
	c, err := authenticode.SelfSigned(t.Context(), s, name)
	require.NoError(t, err)
	return authenticode.Identity{Signer: s, Certificate: c}
}

// identities are one of each kind of key.
func identities(t testing.TB) map[string]authenticode.Identity {
	return map[string]authenticode.Identity{
		"RSA-2048":    identity(t, testKey(t, "rsa2048-test"), "test rsa2048"),
		"RSA-4096":    identity(t, testKey(t, "rsa4096-test"), "test rsa4096"),
		"ECDSA P-256": identity(t, ecdsaKey(t, elliptic.P256(), 1234567), "test p256"),
		"ECDSA P-384": identity(t, ecdsaKey(t, elliptic.P384(), 7654321), "test p384"),
	}
}

const (
	optional = 0x58 // of the files of program
	table    = optional + 160
)

// program makes a PE file with two sections and size bytes behind them.
func program(tail int) []byte {
	const headers, text, data = 0x200, 0x400, 0x200
	b := make([]byte, headers+text+data+tail)
	copy(b, "MZ")
	binary.LittleEndian.PutUint32(b[0x3c:], 0x40)
	copy(b[0x40:], "PE\x00\x00")
	binary.LittleEndian.PutUint16(b[0x44:], 0x8664)
	binary.LittleEndian.PutUint16(b[0x46:], 2)
	binary.LittleEndian.PutUint16(b[0x54:], 160)
	binary.LittleEndian.PutUint16(b[0x56:], 0x22)
	binary.LittleEndian.PutUint16(b[optional:], 0x20b)
	binary.LittleEndian.PutUint32(b[optional+16:], 0x1000) // entry point
	binary.LittleEndian.PutUint32(b[optional+32:], 0x1000)
	binary.LittleEndian.PutUint32(b[optional+36:], 0x200)
	binary.LittleEndian.PutUint32(b[optional+56:], 0x3000)
	binary.LittleEndian.PutUint32(b[optional+60:], headers)
	binary.LittleEndian.PutUint16(b[optional+68:], 10) // EFI application
	binary.LittleEndian.PutUint32(b[optional+108:], 6)
	// The second section of the file is the first of the table.
	for i, s := range []struct {
		name                  string
		address, size, offset uint32
	}{{".data", 0x2000, data, headers + text}, {".text", 0x1000, text, headers}} {
		raw := b[table+40*i:]
		copy(raw, s.name)
		binary.LittleEndian.PutUint32(raw[8:], s.size)
		binary.LittleEndian.PutUint32(raw[12:], s.address)
		binary.LittleEndian.PutUint32(raw[16:], s.size)
		binary.LittleEndian.PutUint32(raw[20:], s.offset)
		binary.LittleEndian.PutUint32(raw[36:], 0x40000040)
	}
	for i := headers; i < len(b); i++ {
		b[i] = byte(i * 7)
	}
	return b
}

func sign(t testing.TB, file []byte, keep bool, ids ...authenticode.Identity) []byte {
	var b bytes.Buffer
	require.NoError(t, authenticode.Sign(t.Context(), &b, bytes.NewReader(file), int64(len(file)),
		&authenticode.Options{Identities: ids, Keep: keep}))
	return b.Bytes()
}

func read(t testing.TB, file []byte) *authenticode.File {
	f, err := authenticode.Read(bytes.NewReader(file), int64(len(file)))
	require.NoError(t, err)
	return f
}

func TestSignAndVerify(t *testing.T) {
	ids := identities(t)
	for name, id := range ids {
		for tail := range 9 {
			t.Run(fmt.Sprintf("%s/%d", name, tail), func(t *testing.T) {
				file := program(tail)
				signed := sign(t, file, false, id)
				f := read(t, signed)
				require.Len(t, f.Signatures, 1)
				assert.Equal(t, read(t, file).Digest, f.Digest)
				s, err := f.Verify(id.Certificate)
				require.NoError(t, err)
				assert.Equal(t, name, s.Key())
				assert.Equal(t, id.Certificate, s.Certificate)
				assert.Equal(t, signed, sign(t, file, false, id), "signing twice")
				assert.Equal(t, signed, sign(t, signed, false, id), "signing again")
				assert.Equal(t, signed, sign(t, signed, true, id), "the same certificate replaces")
			})
		}
	}
}

// TestSignLeavesContent signs and takes the signature away again.
func TestSignLeavesContent(t *testing.T) {
	id := identity(t, ecdsaKey(t, elliptic.P256(), 1), "test")
	file := program(16)
	signed := sign(t, file, false, id)
	for at := range file {
		checksum := at >= optional+64 && at < optional+68
		directory := at >= optional+144 && at < optional+152
		if !checksum && !directory {
			require.Equal(t, file[at], signed[at], "byte %d", at)
		}
	}
	bare := sign(t, signed, false)
	clear(bare[optional+64 : optional+68])
	assert.Equal(t, file, bare)
}

func TestSeveralSignatures(t *testing.T) {
	ids := identities(t)
	old, next := ids["RSA-2048"], ids["ECDSA P-256"]
	names := func(file []byte) (list []string) {
		for _, s := range read(t, file).Signatures {
			require.NoError(t, s.Err)
			list = append(list, s.Key())
		}
		return list
	}
	both := sign(t, program(0), false, old, next)
	assert.Equal(t, []string{"RSA-2048", "ECDSA P-256"}, names(both))
	assert.Equal(t, both, sign(t, sign(t, program(0), false, old), true, next))
	assert.Equal(t, []string{"ECDSA P-256", "RSA-2048"}, names(sign(t, both, true, old)))
	assert.Equal(t, []string{"ECDSA P-256"}, names(sign(t, both, false, next)))
	assert.Empty(t, names(sign(t, both, false)))
	for _, id := range []authenticode.Identity{old, next} {
		s, err := read(t, both).Verify(id.Certificate)
		require.NoError(t, err)
		assert.Equal(t, id.Certificate, s.Certificate)
	}
	_, err := read(t, both).Verify(ids["RSA-4096"].Certificate)
	assert.EqualError(t, err, "PE file: signature 1: by \"CN=test rsa2048\", which is not trusted\n"+
		"PE file: signature 2: by \"CN=test p256\", which is not trusted")
	_, err = read(t, program(0)).Verify(old.Certificate)
	assert.EqualError(t, err, "PE file: is not signed")
}

// TestJointSignature has several sign together.
func TestJointSignature(t *testing.T) {
	ids := identities(t)
	var b bytes.Buffer
	file := program(0)
	o := &authenticode.Options{
		Identities: []authenticode.Identity{ids["RSA-2048"], ids["ECDSA P-256"]}, Joint: true,
	}
	require.NoError(t, authenticode.Sign(t.Context(), &b, bytes.NewReader(file), int64(len(file)), o))
	f := read(t, b.Bytes())
	require.Len(t, f.Signatures, 2)
	assert.Equal(t, f.Signatures[0].DER, f.Signatures[1].DER)
	for _, id := range o.Identities {
		_, err := f.Verify(id.Certificate)
		assert.NoError(t, err)
	}
	_, err := f.Verify(ids["RSA-4096"].Certificate)
	assert.Error(t, err)
	assert.Len(t, read(t, sign(t, b.Bytes(), true, ids["RSA-2048"])).Signatures, 1, "replaced as a whole")
	o.Identities = nil
	b.Reset()
	require.NoError(t, authenticode.Sign(t.Context(), &b, bytes.NewReader(file), int64(len(file)), o))
	assert.Empty(t, read(t, b.Bytes()).Signatures)
}

// TestEveryBitIsCovered flips each bit of a signed file: either the file is
// refused or its signature is. Left out are the checksum, and the signature's
// length, in which zeros may count.
func TestEveryBitIsCovered(t *testing.T) {
	id := identity(t, ecdsaKey(t, elliptic.P256(), 2), "test")
	signed := sign(t, program(3), false, id)
	tableAt := int(binary.LittleEndian.Uint32(signed[optional+144:]))
	length := int(binary.LittleEndian.Uint32(signed[tableAt:]))
	for at := range signed {
		if at >= optional+64 && at < optional+68 || at == tableAt || at >= tableAt+length {
			continue
		}
		for bit := range 8 {
			if testing.Short() && (at*8+bit)%5 != 0 && at < tableAt {
				continue
			}
			signed[at] ^= 1 << bit
			f, err := authenticode.Read(bytes.NewReader(signed), int64(len(signed)))
			if err == nil {
				_, err = f.Verify(id.Certificate)
			}
			assert.Error(t, err, "byte %d, bit %d", at, bit)
			signed[at] ^= 1 << bit
		}
	}
}

// TestChain verifies a signature through the certificate between.
func TestChain(t *testing.T) {
	root, leaf := testKey(t, "rsa2048-test"), ecdsaKey(t, elliptic.P256(), 3)
	anchor := identity(t, root, "anchor").Certificate
	template := identity(t, leaf, "leaf").Certificate
	issue := func(name string, public crypto.PublicKey, by *x509.Certificate, key crypto.Signer) *x509.Certificate {
		c := *template
		c.Subject.CommonName, c.SignatureAlgorithm = name, 0
		c.RawSubject = nil
		der, err := x509.CreateCertificate(nil, &c, by, public, key)
		require.NoError(t, err)
		parsed, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		return parsed
	}
	middleKey := ecdsaKey(t, elliptic.P384(), 4)
	middle := issue("middle", middleKey.Public(), anchor, root)
	end := issue("end", leaf.Public(), middle, middleKey)
	id := authenticode.Identity{Signer: keySigner{Signer: leaf}, Certificate: end, Chain: []*x509.Certificate{middle}}
	f := read(t, sign(t, program(0), false, id))
	for _, c := range []*x509.Certificate{end, middle, anchor} {
		_, err := f.Verify(c)
		assert.NoError(t, err, c.Subject)
	}
	_, err := f.Verify(template)
	assert.Error(t, err)
	id.Chain = nil
	_, err = read(t, sign(t, program(0), false, id)).Verify(anchor)
	assert.EqualError(t, err, `PE file: signature 1: by "CN=end", which is not trusted`)
}

func TestSignErrors(t *testing.T) {
	p256 := ecdsaKey(t, elliptic.P256(), 5)
	good := identity(t, p256, "test")
	edwards := ed25519.NewKeyFromSeed(make([]byte, 32))
	template := good.Certificate
	der, err := x509.CreateCertificate(nil, &x509.Certificate{SerialNumber: big.NewInt(1)},
		&x509.Certificate{}, edwards.Public(), edwards)
	require.NoError(t, err)
	edwardsCertificate, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pending := errors.New("digest is written, signature is awaited")
	tests := []struct {
		name    string
		id      authenticode.Identity
		wantErr string
	}{
		{"other key", authenticode.Identity{Signer: keySigner{Signer: ecdsaKey(t, elliptic.P256(), 6)}, Certificate: template},
			`certificate of "CN=test": is of another key`},
		{"Ed25519", authenticode.Identity{Signer: keySigner{Signer: edwards}, Certificate: edwardsCertificate},
			`certificate of "": key is Ed25519, which firmware does not know: Secure Boot needs RSA or ECDSA`},
		{"signer fails", authenticode.Identity{Signer: keySigner{p256, pending}, Certificate: template},
			"digest is written, signature is awaited"},
		{"signer lies", authenticode.Identity{Signer: liar{keySigner{Signer: p256}}, Certificate: template},
			`certificate of "CN=test": the signer's answer does not verify with it`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			file := program(0)
			err := authenticode.Sign(t.Context(), io.Discard, bytes.NewReader(file), int64(len(file)),
				&authenticode.Options{Identities: []authenticode.Identity{test.id}})
			assert.EqualError(t, err, test.wantErr)
		})
	}
}

// liar signs something else.
type liar struct{ keySigner }

func (l liar) SignDigest(ctx context.Context, digest [32]byte) ([]byte, error) {
	digest[0]++
	return l.keySigner.SignDigest(ctx, digest)
}

// TestSignAsksEveryone wants every signer asked, so that a round of signing
// with keys that are elsewhere gives all digests at once.
func TestSignAsksEveryone(t *testing.T) {
	var mu sync.Mutex
	asked := 0
	id := identity(t, ecdsaKey(t, elliptic.P256(), 5), "test")
	id.Signer = counter{id.Signer, func() { mu.Lock(); asked++; mu.Unlock() }}
	other := identity(t, ecdsaKey(t, elliptic.P256(), 6), "other")
	other.Signer = id.Signer
	other.Certificate = id.Certificate
	file := program(0)
	err := authenticode.Sign(t.Context(), io.Discard, bytes.NewReader(file), int64(len(file)),
		&authenticode.Options{Identities: []authenticode.Identity{id, other}})
	assert.EqualError(t, err, "awaited\nawaited")
	assert.Equal(t, 2, asked)
}

type counter struct {
	authenticode.Signer
	called func()
}

func (c counter) SignDigest(context.Context, [32]byte) ([]byte, error) {
	c.called()
	return nil, errors.New("awaited")
}

func TestReadErrors(t *testing.T) {
	id := identity(t, ecdsaKey(t, elliptic.P256(), 2), "test")
	put := func(at int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte { binary.LittleEndian.PutUint32(b[at:], v); return b }
	}
	tests := []struct {
		name    string
		change  func(b []byte) []byte
		wantErr string
	}{
		{"empty", func([]byte) []byte { return nil }, "PE file: not a PE file: ends early, 64 bytes wanted at 0"},
		{"no MZ", put(0, 0), "PE file: not a PE file: no MZ at the start"},
		{"header far away", put(0x3c, 1<<20), "PE file: PE header: offset 1048576 is not between 64 and 65536"},
		{"no PE", put(0x40, 0), "PE file: not a PE file: no PE signature at 64"},
		{"no sections", put(0x44, 0x8664), "PE file: PE header: 0 sections, 1 to 96 are read"},
		{"32 bit", put(optional, 0x10b), "PE file: PE header: optional header has magic 0x10b, want 0x20b"},
		{"optional header", put(0x54, 100), "PE file: PE header: optional header is 100 bytes, want 152 or more"},
		{"directories", put(optional+108, 4), "PE file: PE header: 4 directories leave no place for signatures"},
		{"headers", put(optional+60, 0x100), "PE file: PE header: headers are 256 bytes, they hold 328"},
		{"gap", put(table+20, 0x800), "PE file: section at byte 2048: what is before it ends at 1536, " +
			"and programs disagree about what to sign then"},
		{"overlap", put(table+60, 0x100), "PE file: section at byte 256: what is before it ends at 512, " +
			"and programs disagree about what to sign then"},
		{"cut", func(b []byte) []byte { return b[:0x7ff] }, "PE file: sections end at byte 2048, the file at 2047"},
		{"huge table", put(optional+148, 1<<21),
			"PE file: signatures: table of 2097152 bytes, at most 1048576 are read"},
		{"bytes behind", func(b []byte) []byte { return append(b, 0) },
			"PE file: signatures: table is bytes 2048 to 2816, want it between the sections' end, 2048, and the file's, 2817"},
		{"entry too long", put(0x800, 1000), "PE file: signatures: signature 1 has 1000 bytes, 768 are left"},
		{"entry too short", put(0x800, 7), "PE file: signatures: signature 1 has 7 bytes, 768 are left"},
		{"entries", func(b []byte) []byte {
			b = b[:0x800]
			for range 17 {
				b = append(b, 8, 0, 0, 0, 0, 2, 2, 0)
			}
			return put(optional+148, 17*8)(b)
		}, "PE file: signatures: more than 16"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			file := test.change(sign(t, program(0), false, id))
			_, err := authenticode.Read(bytes.NewReader(file), int64(len(file)))
			assert.EqualError(t, err, test.wantErr)
		})
	}
}

func TestDamagedSignatures(t *testing.T) {
	id := identity(t, ecdsaKey(t, elliptic.P256(), 2), "test")
	tests := []struct {
		name    string
		change  func(b []byte)
		wantErr string
	}{
		{"content", func(b []byte) { b[0x300]++ }, "is of other content: SHA-256 "},
		{"type", func(b []byte) { b[0x806] = 1 }, "is of type 0x1, revision 0x200, want 0x2 and 0x200"},
		{"no DER", func(b []byte) { b[0x808] = 0 }, "is not a SignedData in DER"},
		{"signature", func(b []byte) { i := bytes.LastIndex(b, []byte{0x02, 0x20}); b[i+5]++ },
			`is bad: does not verify with the key of "CN=test"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			file := sign(t, program(0), false, id)
			test.change(file)
			_, err := read(t, file).Verify(id.Certificate)
			require.Error(t, err)
			assert.True(t, strings.HasPrefix(err.Error(), "PE file: signature 1: "+test.wantErr), err)
		})
	}
}

func TestSelfSigned(t *testing.T) {
	for name, id := range identities(t) {
		c := id.Certificate
		again, err := authenticode.SelfSigned(t.Context(), id.Signer, c.Subject.CommonName)
		require.NoError(t, err)
		assert.Equal(t, c.Raw, again.Raw, name)
		assert.NoError(t, c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature))
		assert.Equal(t, "2013-07-01 9999-12-31", c.NotBefore.Format("2006-01-02 ")+c.NotAfter.Format("2006-01-02"))
	}
	_, err := authenticode.SelfSigned(t.Context(), keySigner{Signer: ed25519.NewKeyFromSeed(make([]byte, 32))}, "x")
	assert.EqualError(t, err,
		`certificate of "x": key is Ed25519, which firmware does not know: Secure Boot needs RSA or ECDSA`)
}

func TestParseCertificates(t *testing.T) {
	id := identity(t, ecdsaKey(t, elliptic.P256(), 2), "test")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: id.Certificate.Raw})
	for _, form := range [][]byte{id.Certificate.Raw, text, append([]byte("a comment\n"), text...)} {
		list, err := authenticode.ParseCertificates(form)
		require.NoError(t, err)
		assert.Equal(t, []*x509.Certificate{id.Certificate}, list)
	}
	list, err := authenticode.ParseCertificates(append(text, text...))
	require.NoError(t, err)
	assert.Len(t, list, 2)
	_, err = authenticode.ParseCertificates([]byte("x"))
	assert.EqualError(t, err, "certificate: neither DER nor PEM of kind CERTIFICATE")
	_, err = authenticode.ParseCertificates(make([]byte, 1<<17))
	assert.EqualError(t, err, "certificate: 131072 bytes, want at most 65536")
}
