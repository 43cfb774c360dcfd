//go:build !crashfs

package tidwallfs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// moduleDir is the directory of go.mod.
const moduleDir = "../../.."

// TestHooked builds this package's tests again, with the hooked library, and
// runs them: those in hooked_test.go among them.
func TestHooked(t *testing.T) {
	readSources(t)
	cmd, err := Command(moduleDir, t.TempDir(), "-v", "./internal/vfs/tidwallfs")
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if n := strings.Count(string(out), "--- PASS: TestLibrary"); n < 4 || strings.Contains(string(out), "--- SKIP") {
		t.Errorf("%d tests of the hooked library passed, want at least 4 and none skipped:\n%s", n, out)
	}
}

// readSources makes the result of this test depend on what the other build is
// made of: go test caches by the files that a test opens.
func readSources(t *testing.T) {
	for _, pattern := range []string{"*.go", "../*.go", "../crashfs/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, name := range files {
			if _, err := os.ReadFile(name); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestRewrite(t *testing.T) {
	const before = "package p\n\nimport (\n\t\"io/ioutil\"\n\t\"os\"\n)\n\n" +
		"var f *os.File\n\nfunc g() (os.FileMode, error) {\n\t// os.Remove stays in comments\n\t_, _ = ioutil.ReadFile(\"os.Remove\")\n\treturn 0, os.Remove(\"x\")\n}\n"
	const after = "package p\n\nimport (\n\t\n\t\"os\"\n)\n\n" +
		"var f File\n\nfunc g() (os.FileMode, error) {\n\t// os.Remove stays in comments\n\t_, _ = FS.ReadFile(\"os.Remove\")\n\treturn 0, FS.Remove(\"x\")\n}\n"
	got, n, err := rewrite([]byte(before))
	if err != nil || n != 3 || string(got) != after {
		t.Errorf("rewrite: %d places, %v:\n%s", n, err, got)
	}
	for _, unknown := range []string{"os.Truncate(name, 0)", "os.Create(name)", "ioutil.WriteFile(name, nil, 0)", "new(os.File)"} {
		src := "package p\n\nfunc f(name string) { _ = " + unknown + " }\n"
		if _, _, err := rewrite([]byte(src)); err == nil {
			t.Errorf("rewrite knows %s", unknown)
		}
	}
}

func TestMountWantsTheHook(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("Mount did not panic in an ordinary build")
		}
	}()
	Mount("/x", nil)
}
