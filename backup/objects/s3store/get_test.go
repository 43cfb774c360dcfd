package s3store_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/quire-db/quire/backup/objects"
)

// response answers with a body that may be shorter than it says.
func response(status int, header map[string]string, body string) func(http.ResponseWriter, *http.Request, int) bool {
	return func(w http.ResponseWriter, r *http.Request, _ int) bool {
		for name, value := range header {
			w.Header().Set(name, value)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
		if length := header["Content-Length"]; length != "" && length != fmt.Sprint(len(body)) {
			cut()
		}
		return true
	}
}

// TestGetFromALiar: of an object of 10 bytes those from 2 on, 4 of them, are
// asked for. A wrong answer is an error, never other bytes, never fewer.
func TestGetFromALiar(t *testing.T) {
	for _, c := range []struct {
		name   string
		status int
		header map[string]string
		body   string
	}{
		{"the whole object", 200, map[string]string{"Content-Length": "10"}, "0123456789"},
		{"another range", 206, map[string]string{"Content-Length": "4", "Content-Range": "bytes 0-3/10"}, "0123"},
		{"less", 206, map[string]string{"Content-Length": "3", "Content-Range": "bytes 2-4/10"}, "234"},
		{"less than its range", 206, map[string]string{"Content-Length": "3", "Content-Range": "bytes 2-5/10"}, "234"},
		{"less than its length", 206, map[string]string{"Content-Length": "4", "Content-Range": "bytes 2-5/10"}, "234"},
		{"nothing of its length", 206, map[string]string{"Content-Length": "4", "Content-Range": "bytes 2-5/10"}, ""},
		{"no length", 206, map[string]string{"Transfer-Encoding": "chunked", "Content-Range": "bytes 2-5/10"}, "2345"},
		{"no size", 206, map[string]string{"Content-Length": "4", "Content-Range": "bytes 2-5/*"}, "2345"},
		{"no range", 206, map[string]string{"Content-Length": "4"}, "2345"},
		{"a size below the range", 206, map[string]string{"Content-Length": "4", "Content-Range": "bytes 2-5/5"}, "2345"},
		{"a range upside down", 206, map[string]string{"Content-Length": "4", "Content-Range": "bytes 5-2/10"}, "2345"},
		{"a range below 0", 206, map[string]string{"Content-Length": "4", "Content-Range": "bytes -2-1/10"}, "2345"},
		{"a range of nonsense", 206, map[string]string{"Content-Length": "4", "Content-Range": "nonsense"}, "2345"},
		{"beyond the end, which it is not", 416, nil, ""},
		{"a page of a proxy", 404, map[string]string{"Content-Type": "text/html"}, "<html>not here</html>"},
		{"no bucket", 404, nil, "<Error><Code>NoSuchBucket</Code></Error>"},
		{"archived", 403, nil, "<Error><Code>InvalidObjectState</Code></Error>"},
		{"forbidden", 403, nil, "<Error><Code>AccessDenied</Code></Error>"},
		{"an error", 500, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFake(t)
			s := f.open(t)
			ok(t, put(s, "a", "0123456789"))
			f.act(func(w http.ResponseWriter, r *http.Request, n int) bool {
				return r.Method == http.MethodGet && response(c.status, c.header, c.body)(w, r, n)
			})
			got, err := text(s, "a", 2, 4)
			isPlain(t, err)
			if !strings.HasPrefix("2345", got) {
				t.Errorf("read %q", got)
			}
		})
	}
}

// TestGetFromOddServers: answers that differ and still say what is needed.
func TestGetFromOddServers(t *testing.T) {
	for _, c := range []struct {
		name   string
		off, n int64
		answer func(http.ResponseWriter, *http.Request, int) bool
		want   string
	}{
		{"a beginning from one that knows no ranges", 0, 4, response(200, map[string]string{"Content-Length": "10"}, "0123456789"), "0123"},
		{"nothing from one that knows no ranges", 3, 0, response(200, map[string]string{"Content-Length": "10"}, "0123456789"), ""},
		{"beyond the end of one that knows no ranges", 10, 4, response(200, map[string]string{"Content-Length": "10"}, "0123456789"), ""},
		{"more than was asked for", 2, 4, response(206, map[string]string{"Content-Length": "8", "Content-Range": "bytes 2-9/10"}, "23456789"), "2345"},
	} {
		f := newFake(t)
		f.act(c.answer)
		s := f.open(t)
		r, size, err := s.Get(background, "a", c.off, c.n)
		ok(t, err)
		got, err := io.ReadAll(r)
		if string(got) != c.want || size != 10 || err != nil {
			t.Errorf("%s: read %q of %d, %v", c.name, got, size, err)
		}
		ok(t, r.Close())
	}
}

// TestGetOfNothing: AWS refuses any range of an object of 0 bytes.
func TestGetOfNothing(t *testing.T) {
	f := newFake(t)
	s := f.open(t)
	ok(t, put(s, "a", ""))
	f.act(func(w http.ResponseWriter, r *http.Request, n int) bool {
		return r.Header.Get("Range") != "" && answering(416, "InvalidRange")(w, r, n)
	})
	for _, c := range []struct{ off, n int64 }{{0, -1}, {0, 0}, {0, 1}, {7, -1}, {7, 0}} {
		if got, err := text(s, "a", c.off, c.n); got != "" || err != nil {
			t.Errorf("Get from %d on of %d is %q, %v", c.off, c.n, got, err)
		}
	}
}

// TestGetTriedAgain: what passes is not seen by the caller.
func TestGetTriedAgain(t *testing.T) {
	for name, fail := range map[string]func(http.ResponseWriter){
		"cut": func(http.ResponseWriter) { cut() },
		"503": func(w http.ResponseWriter) { refuse(w, http.StatusServiceUnavailable, "SlowDown") },
	} {
		f := newFake(t)
		s := f.open(t)
		ok(t, put(s, "a", "text"))
		f.act(func(w http.ResponseWriter, r *http.Request, n int) bool {
			if n < 4 {
				fail(w)
			}
			return n < 4
		})
		got, err := text(s, "a", 1, 2)
		if got != "ex" || err != nil || f.log() != "PUT GET GET GET" {
			t.Errorf("%s: read %q, %v, by %s", name, got, err, f.log())
		}
	}
}

// TestDeletedBehindARange: the size of what was just refused a range is gone, too.
func TestDeletedBehindARange(t *testing.T) {
	f := newFake(t)
	s := f.open(t)
	ok(t, put(s, "a", "text"))
	f.act(func(_ http.ResponseWriter, r *http.Request, _ int) bool {
		if r.Method == http.MethodHead {
			f.remove("below/this/a")
		}
		return false
	})
	_, err := text(s, "a", 4, 1)
	is(t, err, objects.ErrNotFound)
}

// TestContextEndsAReader in the middle of an object.
func TestContextEndsAReader(t *testing.T) {
	f := newFake(t)
	f.act(func(w http.ResponseWriter, r *http.Request, _ int) bool {
		w.Header().Set("Content-Length", "10")
		_, _ = io.WriteString(w, "01234")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		return true
	})
	ctx, end := context.WithCancel(background)
	defer end()
	r, _, err := f.open(t).Get(ctx, "a", 0, -1)
	ok(t, err)
	_, err = io.ReadFull(r, make([]byte, 5))
	ok(t, err)
	end()
	_, err = r.Read(make([]byte, 5))
	is(t, err, context.Canceled)
	ok(t, r.Close())
}
