package limits

import "testing"

func BenchmarkName(b *testing.B) {
	for name, text := range map[string]string{
		"ascii": "payments/checkout/10.0.0.1:8080", "cyrillic": "платежи/касса", "vietnamese": "thanh-toán/giỏ-hàng", "decomposed mark": "q\u0307/касса",
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := Name(text); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkLookup(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if err := Lookup("payments/checkout/10.0.0.1:8080"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCaller(b *testing.B) {
	for b.Loop() {
		if Reason("deployed 42 of 60") != nil || Actor("ann@laptop") != nil || RequestID("0b5dd1c8-6b3e-4a3e-9a3c-0a4d2b1f5c77") != nil {
			b.Fatal("refused")
		}
	}
}
