{{/* What the webhook gives to pods, as `consentd injector --config` reads it. */}}
{{- define "consentd.injectorSettings" -}}
image = {{ include "consentd.image" . | toRawJson }}
image_pull_policy = {{ .Values.image.pullPolicy | toRawJson }}
on_error = {{ .Values.injector.onError | toRawJson }}
startup = {{ .Values.injector.startup | toRawJson }}
data_size = {{ .Values.volume.size | toRawJson }}
secret = {{ .Values.keys.secret | toRawJson }}
admin = {{ include "consentd.listen" (list . 7312) | toRawJson }}
{{- range $kind := list "requests" "limits" }}

[resources.{{ $kind }}]
{{- range $name, $amount := index $.Values.resources $kind }}
{{ $name }} = {{ toString $amount | toRawJson }}
{{- end }}
{{- end }}

[config]
{{- include "consentd.toml" (include "consentd.config" . | fromJson) }}
{{ end -}}
