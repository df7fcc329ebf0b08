{{/*
The name that objects bear, at most 45 bytes. Of 63, which a label has, a Job's name takes 18 more (`-ledger-` and ten digits), and
the revision of a StatefulSet `-nats` and 11 more.
*/}}
{{- define "consentd.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 45 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 45 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 45 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What a part of the release is called: a list of the root and the part, such as `injector`. */}}
{{- define "consentd.partName" -}}
{{- $root := index . 0 -}}
{{- $part := index . 1 -}}
{{- if eq $part "server" -}}
{{- include "consentd.fullname" $root -}}
{{- else -}}
{{- printf "%s-%s" (include "consentd.fullname" $root) $part -}}
{{- end -}}
{{- end -}}

{{/* What tells the pods of a part from all others. Never changed: it is immutable in a workload. */}}
{{- define "consentd.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ default $root.Chart.Name $root.Values.nameOverride | trunc 63 | trimSuffix "-" | quote }}
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 | quote }}
{{- end -}}

{{- define "consentd.labels" -}}
{{- $root := index . 0 -}}
{{ include "consentd.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: consentd
app.kubernetes.io/managed-by: {{ $root.Release.Service | quote }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" | quote }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The head of an object: a list of the root, the part, and its name. */}}
{{- define "consentd.metadata" -}}
{{- $root := index . 0 -}}
name: {{ index . 2 }}
namespace: {{ $root.Release.Namespace }}
labels:
  {{- include "consentd.labels" (list $root (index . 1)) | nindent 2 }}
{{- end -}}

{{- define "consentd.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{- printf "%s@%s" .repository .digest -}}
{{- else -}}
{{- printf "%s:%s" .repository (default $.Chart.AppVersion .tag) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* An address to listen on, with its port: a list of the root and the port. */}}
{{- define "consentd.listen" -}}
{{- $address := (index . 0).Values.listenAddress -}}
{{- if contains ":" $address -}}
{{- printf "[%s]:%d" $address (int (index . 1)) -}}
{{- else -}}
{{- printf "%s:%d" $address (int (index . 1)) -}}
{{- end -}}
{{- end -}}

{{/* The security context of a pod, as the restricted standard wants it. */}}
{{- define "consentd.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* The security context of a container, as the restricted standard wants it. */}}
{{- define "consentd.containerSecurity" -}}
allowPrivilegeEscalation: false
capabilities:
  drop: [ALL]
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
{{- end -}}

{{/* What every pod of the release has, whatever runs in it: a list of the root and the part. */}}
{{- define "consentd.podCommon" -}}
{{- $root := index . 0 -}}
{{- $part := index . 1 -}}
serviceAccountName: {{ include "consentd.partName" . }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- include "consentd.podSecurity" $root | nindent 2 }}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* How replicas are spread: a list of the root and the part. */}}
{{- define "consentd.spread" -}}
{{- $root := index . 0 -}}
{{- with $root.Values.topologySpreadConstraints -}}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- else -}}
topologySpreadConstraints:
  {{- range $key, $skew := dict "topology.kubernetes.io/zone" "ScheduleAnyway" "kubernetes.io/hostname" "ScheduleAnyway" }}
  - maxSkew: 1
    topologyKey: {{ $key }}
    whenUnsatisfiable: {{ $skew }}
    labelSelector:
      matchLabels:
        {{- include "consentd.selector" $ | nindent 8 }}
  {{- end }}
{{- end }}
{{- end -}}

{{/* The metadata of a pod's template: a list of the root, the part, and what the pod must be made anew for. */}}
{{- define "consentd.podMetadata" -}}
{{- $root := index . 0 -}}
{{- $annotations := merge (dict "checksum/config" (index . 2 | sha256sum)) $root.Values.podAnnotations -}}
annotations:
  {{- toYaml $annotations | nindent 2 }}
labels:
  {{- /* Without the chart's version: a chart that changes nothing of a pod lets it be. */}}
  {{- include "consentd.selector" (list $root (index . 1)) | nindent 2 }}
  app.kubernetes.io/part-of: consentd
  {{- with merge (dict) $root.Values.podLabels $root.Values.commonLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* The names by which a service is reached, as a JSON list: a list of the root and the service. */}}
{{- define "consentd.serviceNames" -}}
{{- $root := index . 0 -}}
{{- $service := index . 1 -}}
{{- $full := printf "%s.%s.svc" $service $root.Release.Namespace -}}
{{- list $full $service (printf "%s.%s" $service $root.Release.Namespace) (printf "%s.%s" $full $root.Values.clusterDomain) | toJson -}}
{{- end -}}
