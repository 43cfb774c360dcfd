package s3store_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/quire-db/quire/backup/objects"
)

// TestForeignKeys: what no key of ours can be is nobody's, and what is not below
// the prefix is not ours.
func TestForeignKeys(t *testing.T) {
	f := newFake(t)
	s := f.open(t)
	ok(t, put(s, "a/b", "text"))
	for _, name := range []string{
		"below/this/", "below/this/a/", "below/this/.hidden", "below/this/a b", "below/this/a\x01b", "below/this/a+b&c=d", "below/this/é",
		"below/thisother/x", "below", "below/thi", "x",
	} {
		f.keep(name, held{data: []byte("foreign")}, true)
	}
	for _, prefix := range []string{"", "a", "a/"} {
		if got := keys(t, s, prefix); !slices.Equal(got, []string{"a/b"}) {
			t.Errorf("list of %q is %q", prefix, got)
		}
	}
	whole := openURL(t, "s3://"+bucket+"?endpoint="+f.server.URL, quick)
	if got := keys(t, whole, "below"); !slices.Equal(got, []string{"below", "below/thi", "below/this/a/b", "below/thisother/x"}) {
		t.Errorf("the whole bucket has %q", got)
	}
	holds(t, whole, "below/this/a/b", "text")
}

// TestListFails: a list that ends without an error is complete.
func TestListFails(t *testing.T) {
	const head, tail = "<ListBucketResult><IsTruncated>false</IsTruncated>", "</ListBucketResult>"
	const more = "<ListBucketResult><IsTruncated>true</IsTruncated>"
	object := func(key string) string { return fmt.Sprintf("<Contents><Key>%s</Key><Size>1</Size></Contents>", key) }
	for name, page := range map[string]string{
		"it goes on, and nobody knows where": more + object("below/this/a") + tail,
		"it goes on in a circle": more + "<NextContinuationToken>x</NextContinuationToken>" +
			object("below/this/a") + tail,
		"it has others":                       head + object("below/this/a") + object("other/b") + tail,
		"it has bad escapes":                  head + "<EncodingType>url</EncodingType>" + object("below/this/a") + object("%zz") + tail,
		"it is cut off":                       head + object("below/this/a") + object("below/this/b"),
		"it does not say that it is complete": "<ListBucketResult>" + object("below/this/a") + tail,
		"it is nothing":                       "",
		"it is no XML":                        "the list is below/this/a",
		"it is something else":                "<html></html",
	} {
		f := newFake(t)
		f.act(func(w http.ResponseWriter, _ *http.Request, _ int) bool {
			_, _ = io.WriteString(w, page)
			return true
		})
		var last error
		n := 0
		for _, err := range f.open(t).List(background, "") {
			if n++; last != nil {
				t.Errorf("%s: more came behind an error", name)
			}
			last = err
		}
		if isPlain(t, last); n > 3 {
			t.Errorf("%s: %d items", name, n)
		}
	}
}

// TestListTriedAgain page by page.
func TestListTriedAgain(t *testing.T) {
	f := newFake(t)
	for i := range 2500 {
		f.keep(fmt.Sprintf("below/this/%04d", i), held{}, true)
	}
	f.act(func(w http.ResponseWriter, r *http.Request, n int) bool {
		return n%2 == 1 && answering(503, "SlowDown")(w, r, n)
	})
	if got := keys(t, f.open(t), ""); len(got) != 2500 || f.log() != "GET GET GET GET GET GET" {
		t.Errorf("%d are listed, by %s", len(got), f.log())
	}
}

// TestDeleteAnswers is TestPutRefused for Delete.
func TestDeleteAnswers(t *testing.T) {
	for _, c := range []struct {
		status int
		code   string
		done   bool
		want   error // nil for a plain one
	}{
		{404, "NoSuchKey", true, nil},
		{404, "NoSuchBucket", false, nil},
		{403, "AccessDenied", false, nil},
		{500, "InternalError", false, objects.ErrUnknown},
		{503, "SlowDown", false, objects.ErrUnknown},
	} {
		f := newFake(t)
		f.act(answering(c.status, c.code))
		err := f.open(t).Delete(background, "a")
		switch {
		case c.done:
			ok(t, err)
		case c.want == nil:
			isPlain(t, err)
		default:
			is(t, err, c.want)
		}
	}
}

// TestDeleteThatIsForbiddenLater may have happened before.
func TestDeleteThatIsForbiddenLater(t *testing.T) {
	f := newFake(t)
	f.act(func(w http.ResponseWriter, r *http.Request, n int) bool {
		if n == 1 {
			return answering(500, "InternalError")(w, r, n)
		}
		return answering(403, "AccessDenied")(w, r, n)
	})
	is(t, f.open(t).Delete(background, "a"), objects.ErrUnknown)
}

// TestProbe refuses by name the servers that would let two writers win, and does
// not call one unfit for a network that fails.
func TestProbe(t *testing.T) {
	f := newFake(t)
	f.overwrites = true
	is(t, objects.Probe(background, f.open(t), time.Now()), objects.ErrUnfit)

	f = newFake(t)
	f.act(func(w http.ResponseWriter, r *http.Request, n int) bool {
		return r.Header.Get("If-None-Match") != "" && answering(501, "NotImplemented")(w, r, n)
	})
	is(t, objects.Probe(background, f.open(t), time.Now()), objects.ErrUnfit)

	f = newFake(t)
	f.act(answering(403, "AccessDenied"))
	isPlain(t, objects.Probe(background, f.open(t), time.Now()))

	f = newFake(t)
	s := f.open(t)
	f.act(func(w http.ResponseWriter, r *http.Request, n int) bool {
		if r.Method != http.MethodPut || n > 3 {
			return false
		}
		f.putUnseen(r)
		cut()
		return true
	})
	ok(t, objects.Probe(background, s, time.Now()))
}
