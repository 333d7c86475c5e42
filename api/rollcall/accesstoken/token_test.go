package accesstoken_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"

	"github.com/rollcallhq/rollcall/api/rollcall/accesstoken"
)

const (
	secret = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefg"
	text   = "rct_71d84b1859bad11a_" + secret
)

var shape = regexp.MustCompile(`^rct_[0-9a-f]{16}_[0-9A-Za-z]{43}$`)

func TestANewTokenHasTheShapeOfTokens(t *testing.T) {
	seen := map[string]bool{}
	characters := map[rune]bool{}
	for range 200 {
		token := accesstoken.New()
		if !shape.MatchString(token.Text()) {
			t.Fatalf("New() = %s", token.Text())
		}
		if seen[token.Text()] {
			t.Fatalf("New() made %s twice", token.Text())
		}
		seen[token.Text()] = true
		again, err := accesstoken.Parse(token.Text())
		if err != nil || again.Text() != token.Text() || again.SHA256() != token.SHA256() {
			t.Fatalf("Parse(%s) = %v, %v", token.Text(), again, err)
		}
		for _, c := range token.Text()[21:] {
			characters[c] = true
		}
	}
	// A character is missing from 8,600 with a probability of 10^-60.
	if len(characters) != 62 {
		t.Errorf("200 secrets have %d different characters, want 62", len(characters))
	}
}

func TestParse(t *testing.T) {
	token, err := accesstoken.Parse(text)
	if err != nil {
		sum := sha256.Sum256([]byte(secret))
		t.Fatalf("Parse: %v (the id of the secret is %s)", err, hex.EncodeToString(sum[:8]))
	}
	if token.Text() != text || token.ID() != text[4:20] || token.SHA256() != sha256.Sum256([]byte(secret)) || token.ID() != accesstoken.ID(token.SHA256()) {
		t.Errorf("Text, ID, SHA256 = %s, %s, %x", token.Text(), token.ID(), token.SHA256())
	}
}

func TestTheZeroValueIsNoToken(t *testing.T) {
	var zero accesstoken.Token
	if !zero.IsZero() || accesstoken.New().IsZero() || zero.Text() != "" || zero.ID() != "" {
		t.Errorf("IsZero, Text, ID = %v, %q, %q", zero.IsZero(), zero.Text(), zero.ID())
	}
}

func TestWhatIsNoToken(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       error
	}{
		{"nothing", "", accesstoken.ErrPrefix},
		{"a part of the prefix", "rct", accesstoken.ErrPrefix},
		{"another's token", "ghp_" + text[4:], accesstoken.ErrPrefix},
		{"upper case prefix", "RCT_" + text[4:], accesstoken.ErrPrefix},
		{"a space before", " " + text, accesstoken.ErrPrefix},
		{"the prefix alone", "rct_", accesstoken.ErrLength},
		{"a character less", text[:63], accesstoken.ErrLength},
		{"a character more", text + "x", accesstoken.ErrLength},
		{"a line break after", text + "\n", accesstoken.ErrLength},
		{"twice", text + text, accesstoken.ErrLength},
		{"no second underscore", strings.Replace(text, "_0123", "-0123", 1), accesstoken.ErrCharacter},
		{"an upper case id", "rct_" + strings.ToUpper(text[4:20]) + text[20:], accesstoken.ErrCharacter},
		{"a letter in the id that is no digit", "rct_g" + text[5:], accesstoken.ErrCharacter},
		{"a dash in the secret", text[:63] + "-", accesstoken.ErrCharacter},
		{"not ASCII", text[:62] + "é", accesstoken.ErrCharacter},
		{"a zero byte", text[:63] + "\x00", accesstoken.ErrCharacter},
		{"another id", "rct_0" + text[5:], accesstoken.ErrChecksum},
		{"another secret", text[:63] + "h", accesstoken.ErrChecksum},
	} {
		t.Run(tt.name, func(t *testing.T) {
			token, err := accesstoken.Parse(tt.text)
			if !errors.Is(err, tt.want) || token != (accesstoken.Token{}) {
				t.Errorf("Parse = %v, %v, want %v", token, err, tt.want)
			}
		})
	}
}

func TestEverySlipOfOneCharacterIsFound(t *testing.T) {
	for i := range text {
		for _, c := range []byte("0123456789abcdefABCDEFxyzXYZ_- ") {
			if c == text[i] {
				continue
			}
			if slip := text[:i] + string(c) + text[i+1:]; !fails(slip) {
				t.Errorf("Check(%s) = nil", slip)
			}
		}
		if i > 0 && text[i] != text[i-1] {
			if swapped := text[:i-1] + string(text[i]) + string(text[i-1]) + text[i+1:]; !fails(swapped) {
				t.Errorf("Check(%s) = nil", swapped)
			}
		}
	}
}

func fails(text string) bool {
	_, err := accesstoken.Check(text)
	return err != nil
}

func TestNoWayOfPrintingShowsTheSecret(t *testing.T) {
	token, err := accesstoken.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "token", token)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "token", token, "in", struct{ T accesstoken.Token }{token})
	inJSON, err := json.Marshal(map[string]any{"t": token, "p": &token})
	if err != nil {
		t.Fatal(err)
	}
	for _, shown := range []string{
		fmt.Sprint(token), fmt.Sprint(&token), fmt.Sprintf("%v %+v %#v %s %q", token, token, token, token, token),
		fmt.Sprintf("%+v %#v", struct{ T accesstoken.Token }{token}, &struct{ T *accesstoken.Token }{&token}),
		fmt.Sprintf("%x %X", token, token),
		fmt.Sprintf("%+v %#v", struct{ t accesstoken.Token }{token}, []any{struct{ t *accesstoken.Token }{&token}}),
		log.String(), string(inJSON), fmt.Sprintln(accesstoken.Token{}),
	} {
		if strings.Contains(shown, secret) || strings.Contains(strings.ToLower(shown), hex.EncodeToString([]byte(secret))) {
			t.Errorf("%s shows the secret", shown)
		}
	}
	if got, want := token.String(), "rct_"+text[4:20]+"_…"; got != want {
		t.Errorf("String() = %s, want %s", got, want)
	}
}

func TestCheckAllocatesNothing(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() {
		if fails(text) {
			t.Error("Check failed")
		}
	}); n != 0 {
		t.Errorf("Check allocates %v times", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(text)
	f.Add("")
	f.Add("rct_")
	f.Add(text[:63])
	f.Add("rct_0000000000000000_" + secret)
	f.Fuzz(func(t *testing.T, text string) {
		token, err := accesstoken.Parse(text)
		if err != nil {
			if token != (accesstoken.Token{}) {
				t.Errorf("Parse(%q) = a token, and %v", text, err)
			}
			return
		}
		if !shape.MatchString(text) || token.Text() != text || token.ID() != accesstoken.ID(token.SHA256()) {
			t.Errorf("Parse took %q for a token", text)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if fails(text) {
			b.Fatal("Check failed")
		}
	}
}
