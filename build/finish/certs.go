package finish

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // the hash that OpenSSL names files by
	"encoding/asn1"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"path"
	"strings"
	"unicode/utf16"

	"slipway/build/tree"
)

// certSource is where packages put certificate authorities, one each file.
const certSource = "usr/share/ca-certificates/"

// writeCertificates does what update-ca-certificates(8) does with every
// authority trusted: the bundle etc/ssl/certs/ca-certificates.crt, a NAME.pem
// link to each certificate and a HASH.N link to that, by which OpenSSL finds
// one by its subject.
func (r *run) writeCertificates() error {
	var bundle, list strings.Builder
	links := map[uint32]int{} // hash -> how many so far
	for p, n := range r.Tree.All() {
		name, ok := strings.CutPrefix(p, certSource)
		if !ok || n.Type != tree.File || path.Ext(name) != ".crt" {
			continue
		}
		text, _, err := r.read(p)
		if err != nil {
			return err
		}
		block, _ := pem.Decode([]byte(text))
		if block == nil || block.Type != "CERTIFICATE" {
			return fmt.Errorf("/%s: no PEM certificate", p)
		}
		hash, err := subjectHash(block.Bytes)
		if err != nil {
			return fmt.Errorf("/%s: %w", p, err)
		}
		bundle.WriteString(strings.TrimRight(text, "\n") + "\n")
		fmt.Fprintf(&list, "%s\n", name)
		link := certLink(name)
		r.put("etc/ssl/certs/"+link, &tree.Node{Type: tree.Symlink, Mode: 0o777, Target: "/" + p})
		r.put(fmt.Sprintf("etc/ssl/certs/%08x.%d", hash, links[hash]),
			&tree.Node{Type: tree.Symlink, Mode: 0o777, Target: link})
		links[hash]++
	}
	if list.Len() == 0 {
		return nil
	}
	if err := r.text("etc/ca-certificates.conf", list.String()); err != nil {
		return err
	}
	return r.text("etc/ssl/certs/ca-certificates.crt", bundle.String())
}

// certLink is the name that update-ca-certificates gives a certificate's link.
func certLink(name string) string {
	name = strings.TrimSuffix(path.Base(name), ".crt")
	return strings.NewReplacer(" ", "_", ",", "_", "(", "=", ")", "=").Replace(name) + ".pem"
}

// subjectHash is what `openssl x509 -hash` prints for a certificate in DER:
// the first four bytes, little endian, of the SHA-1 of the subject's canonical
// form (X509_NAME_hash_ex in OpenSSL's crypto/x509/x509_cmp.c).
func subjectHash(der []byte) (uint32, error) {
	// Only a prefix of the certificate's sequence is wanted: it is walked by
	// hand.
	var outer, tbs asn1.RawValue
	if _, err := asn1.Unmarshal(der, &outer); err != nil {
		return 0, fmt.Errorf("certificate: %w", err)
	}
	if _, err := asn1.Unmarshal(outer.Bytes, &tbs); err != nil {
		return 0, fmt.Errorf("certificate: %w", err)
	}
	rest := tbs.Bytes
	for i := 0; ; {
		var field asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &field); err != nil {
			return 0, fmt.Errorf("certificate: %w", err)
		}
		if field.Class == asn1.ClassContextSpecific {
			continue // the version
		}
		if i == 4 { // serial, algorithm, issuer, validity, subject
			canonical, err := canonicalName(field.Bytes)
			if err != nil {
				return 0, fmt.Errorf("subject: %w", err)
			}
			sum := sha1.Sum(canonical) //nolint:gosec // as above
			return binary.LittleEndian.Uint32(sum[:4]), nil
		}
		i++
	}
}

// canonicalName encodes the relative names of a subject, one SET after the
// other without a SEQUENCE around them, with each text value as a UTF8String
// in lower case with its blanks folded (x509_name_canon in x_name.c).
func canonicalName(sets []byte) ([]byte, error) {
	var out []byte
	for len(sets) > 0 {
		var set asn1.RawValue
		rest, err := asn1.Unmarshal(sets, &set)
		if err != nil {
			return nil, err
		}
		sets = rest
		var members []byte
		for pairs := set.Bytes; len(pairs) > 0; {
			var pair struct {
				ID    asn1.ObjectIdentifier
				Value asn1.RawValue
			}
			if pairs, err = asn1.Unmarshal(pairs, &pair); err != nil {
				return nil, err
			}
			if text, ok := nameText(pair.Value); ok {
				pair.Value = asn1.RawValue{
					Class: asn1.ClassUniversal, Tag: asn1.TagUTF8String, Bytes: foldBlanks(text)}
			}
			encoded, err := asn1.Marshal(pair)
			if err != nil {
				return nil, err
			}
			members = append(members, encoded...)
		}
		encoded, err := asn1.Marshal(asn1.RawValue{
			Class: asn1.ClassUniversal, Tag: asn1.TagSet, IsCompound: true, Bytes: members})
		if err != nil {
			return nil, err
		}
		out = append(out, encoded...)
	}
	return out, nil
}

// nameText gives a text value as UTF-8; ok is false for a type that is hashed
// as it is.
func nameText(v asn1.RawValue) (text []byte, ok bool) {
	if v.Class != asn1.ClassUniversal {
		return nil, false
	}
	const universalString, visibleString = 28, 26
	switch v.Tag {
	case asn1.TagUTF8String, asn1.TagPrintableString, asn1.TagIA5String, visibleString:
		return v.Bytes, true
	case asn1.TagT61String: // read as Latin-1
		var runes []rune
		for _, b := range v.Bytes {
			runes = append(runes, rune(b))
		}
		return []byte(string(runes)), true
	case asn1.TagBMPString:
		var units []uint16
		for i := 0; i+1 < len(v.Bytes); i += 2 {
			units = append(units, binary.BigEndian.Uint16(v.Bytes[i:]))
		}
		return []byte(string(utf16.Decode(units))), true
	case universalString:
		var runes []rune
		for i := 0; i+3 < len(v.Bytes); i += 4 {
			runes = append(runes, rune(binary.BigEndian.Uint32(v.Bytes[i:])))
		}
		return []byte(string(runes)), true
	}
	return nil, false
}

// foldBlanks drops blanks at both ends, makes one space of several inside and
// lowers ASCII letters.
func foldBlanks(text []byte) []byte {
	fields := bytes.FieldsFunc(text, func(c rune) bool {
		return strings.ContainsRune(" \t\n\v\f\r", c)
	})
	folded := bytes.Join(fields, []byte(" "))
	for i, c := range folded {
		if 'A' <= c && c <= 'Z' {
			folded[i] = c + 'a' - 'A'
		}
	}
	return folded
}
